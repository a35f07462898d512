"""Facts that harm nobody, and what an honest service would write after them: what forgeries begin with."""

from dataclasses import replace
from typing import Any

from custody.event import Event, Fact
from custody.kit import to_document
from custody.people import Actor
from custody.trail import after
from tests.custody.byhand import ByHand
from tests.custody.story import NURSE

MOVED, PROTOCOL, BYTES, PROJECTION, CHECK = "CU001", "CU002", "CU003", "CU004", "23514"


def checked(kit: str, actor: Actor = NURSE, **change: Any) -> Fact:
    """A harmless fact: the seal of package 1 was looked at."""
    fields = {"packages": [{"package": 1, "seal": "S-0001", "condition": "intact"}]}
    return replace(
        Fact(type="seal.checked", subject=f"custody:{kit}", who=actor.who(), fields=fields), **change
    )


def chosen(kit: str, type_: str, actor: Actor, **fields: Any) -> Fact:
    return Fact(type=type_, subject=f"choices:{kit}", who=actor.who(), fields=fields)


def follow(byhand: ByHand, kit: str, fact: Fact, **change: Any) -> tuple[Event, dict[str, Any]]:
    """The event, changed, and the projection that an honest one would leave, at this event's digest."""
    honest = byhand.event(fact)
    event = byhand.event(fact, **change) if change else honest
    document = to_document(after(byhand.kit(kit), honest))
    which = event.subject.split(":")[0]
    document[f"{which}_head"] = {**document[f"{which}_head"], "digest": event.digest}
    return event, {kit: document}
