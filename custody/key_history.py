"""Which keys signed the log one after the other, as the log's own events tell it.

``log.opened`` names the first keys, ``log.keys_changed`` and ``log.recovered`` those that sign from then on:
*generations*. Each of these events is in the log under a checkpoint that the generation before it has signed,
so who knows the keys of one generation can follow to every later one, and never to an earlier one:

1. Start with the keys that came from outside.
2. An event whose checkpoint carries a signature of every type among the keys trusted last makes the keys that
   it names the ones trusted last.
3. A checkpoint is signed by the log if one of the sets of keys trusted on this way signed it.

Where a key was lost, the generation after it is vouched for by nobody: the way ends there, and the later
keys have to come from outside themselves.

Backwards there is no way to later checkpoints, but one to earlier ones: an event that trusted keys put under
their checkpoint names its predecessors by their digests, and so the keys before it (:func:`reached`). A
history that no trusted key has signed anywhere is a stranger's, whatever it says.

A log keeps its name. Only ``log.recovered`` gives it another one, and says which it had.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from audit.key import NotSigned, VerifierKey, verify, write_keys
from audit.merkle import InvalidProof
from audit.note import Note
from audit.proof import Proof
from audit.text import Malformed
from custody.bundle import Told, fingerprint, key_name
from custody.event import Event, EventRefused, decode

SUBJECT: Final = "log:events"
TYPES: Final = ("log.opened", "log.keys_changed", "log.recovered")

Keys = tuple[VerifierKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The keys that `event` names, and the note of the checkpoint under which it is in the log.

    ``vouched``: the generation before it signed that checkpoint (for the first one: it did so itself).
    """

    event: Event
    keys: Keys
    note: Note
    vouched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The generations in order; ``wrong`` is why the rest cannot be followed, None where all can."""

    generations: tuple[Generation, ...]
    wrong: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The database was taken back: of ``signed`` leaves ``found`` were still there, on ``day``."""

    day: str
    signed: int
    found: int

    @property
    def lost(self) -> int:
        return max(0, self.signed - self.found)

    @property
    def not_proved(self) -> str:
        """What nobody can know about a kit since then."""
        return (
            f"That no event of this kit was among the {self.lost} leaves of the log that were lost when its"
            f" database was taken back on {self.day}, and not entered again."
        )


def restores(events: Sequence[Event]) -> tuple[Restore, ...]:
    """The restores among the log's own events that lost something."""
    told = (
        Restore(day=day_of(event), signed=event.get("log", {}).get("size", 0), found=event.get("resumed", 0))
        for event in events
        if event.type == "log.recovered"
    )
    return tuple(each for each in told if each.lost)


def day_of(event: Event) -> str:
    """The day on which an event says that it was recorded."""
    return str(event.values["recorded_at"])[:10]


def signed_by(note: Note, keys: Sequence[VerifierKey]) -> bool:
    """Whether keys among ``keys`` of every type that is among them signed the note, and none wrongly."""
    try:
        signers = verify(note, keys)
    except NotSigned:
        return False
    return {key.key_type for key in signers} == {key.key_type for key in keys}


def read(told: Sequence[Told]) -> History:
    """The history in these events, each one checked: spelling, chain, place in the log, signature."""
    generations: list[Generation] = []
    for number, each in enumerate(told, 1):
        try:
            generations.append(_generation(number, each, generations))
        except (EventRefused, Malformed, InvalidProof, _Broken) as why:
            return History(generations=tuple(generations), wrong=f"{key_name(number, 'json')}: {why}.")
    return History(generations=tuple(generations), wrong=None)


class _Broken(ValueError):
    pass


def _generation(number: int, told: Told, earlier: Sequence[Generation]) -> Generation:
    before = earlier[-1] if earlier else None
    event = decode(told.event)
    if event.subject != SUBJECT or event.type not in TYPES:
        raise _Broken(f"an event {event.type} of {event.subject} tells nothing about this log's keys")
    if event.number != number or event.previous != (before.event.digest if before else None):
        raise _Broken("it does not follow the event before it")
    keys = tuple(VerifierKey.read(vkey) for vkey in event.get("vkeys", ()))
    if len({key.name for key in keys}) != 1:
        raise _Broken("it names no keys, or keys of several logs")
    if earlier:
        _demand_same_log(event, keys[0].name, {generation.keys[0].name for generation in earlier})
    if event.type == "log.opened" and event.get("digest") != fingerprint(write_keys(keys)):
        raise _Broken("the fingerprint in it is not that of the keys in it")
    proof = Proof.read(told.proof)
    proof.check(bytes.fromhex(event.digest))
    if proof.extra is not None or proof.note.written() != told.proof.partition(b"\n\n")[2]:
        raise _Broken("its proof carries something beside the proof")
    vouched = signed_by(proof.note, before.keys if before else keys)
    if not vouched and not signed_by(proof.note, keys):
        raise _Broken("neither the keys that signed before it nor those that it names signed its checkpoint")
    _refuse_strangers(proof.note, {*keys, *(key for generation in earlier for key in generation.keys)})
    return Generation(event=event, keys=keys, note=proof.note, vouched=vouched)


def _demand_same_log(event: Event, origin: str, earlier: Set[str]) -> None:
    """The keys are for a name that the log bore, or the event says that it bore one and was recovered."""
    renamed = event.type == "log.recovered"
    before = event.get("log", {}).get("origin") if renamed else origin
    if before not in earlier:
        raise _Broken(f"{before} is not the name of the log that was told of before it")


def _refuse_strangers(note: Note, keys: Set[VerifierKey]) -> None:
    """Every signature in the note is by one of these keys: others would prove nothing here."""
    try:
        signers = verify(note, keys)
    except NotSigned as why:
        raise _Broken(str(why)) from why
    if len(signers) != len(note.signatures):
        raise _Broken("its checkpoint carries a signature of another key")


def forward(history: History, given: Sequence[VerifierKey]) -> tuple[Keys, ...]:
    """The sets of keys to trust, in order: those given from outside, and every later generation."""
    return _followed(history, given)[0]


def reached(history: History, given: Sequence[VerifierKey]) -> tuple[Generation, ...]:
    """The generations up to the last one whose event is under a checkpoint of keys trusted by then.

    Who trusts the keys ``given`` can believe of all these, and of none after them, that they are this log's.
    Empty where the history has nothing to do with those keys.
    """
    return history.generations[: _followed(history, given)[1]]


def _followed(history: History, given: Sequence[VerifierKey]) -> tuple[tuple[Keys, ...], int]:
    trusted: list[Keys] = [tuple(given)]
    last = 0
    for number, generation in enumerate(history.generations, 1):
        if signed_by(generation.note, trusted[-1]):
            last = number
            if set(generation.keys) != set(trusted[-1]):
                trusted.append(generation.keys)
    return tuple(trusted), last
