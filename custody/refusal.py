"""Refusals: something is not allowed now. Nothing was written, and the words say why and what can be done."""

from typing import Any, Final

from custody.protocol import STEPS

# The English sentence is the message's key; the desk translates it and fills in the values.
STATES: Final = {
    "custody": "This step is not possible: package {package} is {state}.",
    "legal": "This step is not possible: the kit is {state}.",
    "retention": "This step is not possible: the term is {state}.",
    "trail": "This step is not possible: the kit is {state}.",
    "handover": "Package {package} is not on the way to anybody.",
    "hold": "There is no such hold on this kit.",
}


class Refused(Exception):
    """Not allowed now. ``message`` has places for ``values``; ``field`` names the input, if there is one."""

    def __init__(self, message: str, field: str | None = None, **values: Any) -> None:
        super().__init__(message.format(**values) if values else message)
        self.message = message
        self.field = field
        self.values = values
        self.step: str | None = None

    @classmethod
    def step_from(cls, type_: str, axis: str, state: str, package: int | None) -> "Refused":
        refused = cls(STATES[axis], state=state.replace("_", " "), package=package)
        refused.step = STEPS[type_].says
        return refused


class NotSeen(Refused):
    """No such kit for this person: it never existed, or it is not theirs to know of. One answer for both."""

    def __init__(self) -> None:
        super().__init__("There is no kit with this number that you can open.")


class NoSuchPackage(Refused):
    """The kit has no such package, or none that this person may know of. One answer for both."""

    def __init__(self, package: int) -> None:
        super().__init__("This kit has no package {package}.", field="packages", package=package)


class NotPermitted(Refused):
    """The table of permissions does not allow it; the kit itself may be known to this person."""


class KeyUsed(Refused):
    """The Idempotency-Key was used for another command."""

    def __init__(self) -> None:
        super().__init__("This key was used for another command. Send a new one.")


class Stale(Refused):
    """``If-Match`` names another state than the one that stands."""

    def __init__(self) -> None:
        super().__init__("Somebody else recorded something in the meantime. Look again, then decide.")


class NeedsSecond(Exception):
    """Everything is in order but a second person's signature: the command waits for it."""


class NoSuchPlace(Refused):
    """What was asked for is not repeated: in an address it may be anything."""

    def __init__(self) -> None:
        super().__init__("There is no open place of this name at your organisation.", field="place")
