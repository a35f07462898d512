"""The numbered checks of a bundle: what a court runs, without a service, a database or a network.

1. The files are what their formats demand, and speak of one log.
2. README.txt is the page that belongs to them (:mod:`custody.cover`).
3. Each event is in the one spelling of an event.
4. The events are numbers 1 to n of one trail, each with the digest of the one before, and time never runs
   backwards. That nothing came after the last one is shown by nothing.
5. Each event is in the log under exactly ``checkpoint.txt`` (RFC 9162 section 2.1.3.2).
6. The steps follow the protocol, as far as one of the two trails can tell (:mod:`custody.court`).
7. The checkpoint is signed by the log: by keys from outside, of every type among them, or by later keys that
   the history in the bundle leads to from them (:mod:`custody.key_history`); nobody else signed in its name.
8. That history holds together, is the one of the keys from outside, and ends with keys that signed the
   checkpoint.
9. Each anchor is signed by keys from outside or by keys of that history as far as it is bound to them, and
   the log only grew from it to the checkpoint (RFC 9162 section 2.1.4.2).
10. Witnesses saw it: the quorum of a policy from outside (C2SP tlog-policy) cosigned the checkpoint, or an
    anchor that covers some of the events; none of them is the log itself, and no event says that it was
    recorded after they saw it.
11. Time stamps (RFC 3161) over the anchors lead to roots from outside; each event was there no later than the
    earliest stamp over an anchor that covers it, and does not say that it was recorded after that.

Keys, policy and roots come from outside, never from the bundle. Where one is not given, the check that needs
it is *not made*, which is neither a success nor a failure. Whatever fails, all other checks are made.
"""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Final

from audit.checkpoint import Checkpoint
from audit.key import NotSigned, read_keys, verify
from audit.merkle import InvalidProof, verify_consistency
from audit.note import Note
from audit.policy import Policy, Quorum
from audit.proof import ManyProofs
from audit.text import Malformed, read_hash, read_utf8
from audit.token import Stamped, StampRefused, check_chain
from audit.verify import Finding, Verdict, VerificationError
from custody.bundle import Anchor, Bundle, anchor_name, event_name, proof_name
from custody.court import CourtCopy
from custody.cover import NOT_TRUE, page
from custody.event import Event, EventRefused, decode
from custody.key_history import History, Keys, day_of, forward, reached, restores, signed_by
from custody.key_history import read as read_history
from custody.protocol import Trail
from custody.signers import not_this_logs, one_algorithm, stranger, who_signed, why_not

TITLES: Final = {
    1: "The bundle has the files it should have",
    2: "README.txt is the page that belongs to this bundle",
    3: "Every event is in the one spelling of an event",
    4: "The trail runs from event 1 to the last one in here without a gap",
    5: "Every event is in the log",
    6: "The steps follow the protocol",
    7: "The checkpoint is signed by the log's keys",
    8: "What the log recorded about its keys holds together",
    9: "The log only grew from each earlier checkpoint in here",
    10: "Independent witnesses saw the log",
    11: "Time stamps say since when the events have been there",
}

NOTHING_AFTER: Final = (
    "That nothing happened after the last event of this bundle, or that no last events were left out of it."
)
NO_KEY: Final = "That the log signed any of this: no key was given."
RIGHT_KEY: Final = (
    "That the key you gave is the right one, unless its fingerprint reached you another way than this bundle."
)
OTHER_TRAIL: Final = {
    "custody": (
        "Anything about the victim's choices, which stand in another trail that is not in this bundle; steps"
        " that depend on them are checked only as far as the custody trail allows."
    ),
    "choices": (
        "Anything about the evidence itself, whose custody stands in another trail, not in this bundle;"
        " steps that depend on links and orders are checked only as far as the choices trail allows."
    ),
}
NO_WITNESS: Final = "That the log showed everyone the same: no policy of witnesses was given."
NO_WITNESS_OF_LOG: Final = (
    "That the log showed everyone the same: no key was given that says which log this is."
)
NO_QUORUM: Final = (
    "That the log showed everyone the same: the witnesses that the policy wants did not cosign this."
)
NO_ROOTS: Final = (
    "When anything was recorded, beyond the order of the log and its own word: no roots of time stamps were"
    " given."
)
NO_STAMP: Final = (
    "When anything was recorded, beyond the order of the log and its own word: no time stamp holds."
)
NOT_BEFORE: Final = (
    "That an event was recorded not long before its time stamp: a stamp says only *no later than*."
)
NO_GROWTH: Final = (
    "That nothing was removed from the log before its checkpoint: no earlier one is in this bundle."
)
WHOSE: Final = "No key was given, so nobody knows whose checkpoints these are."


CLOCKS_DIFFER: Final = timedelta(minutes=5)  # between the log's clock and an authority's


@dataclass(frozen=True, slots=True)
class _Anchored:
    """An anchor as read: where it stands in the bundle, its checkpoint and its note with all signatures."""

    number: int
    anchor: Anchor
    checkpoint: Checkpoint
    note: Note
    hashes: tuple[bytes, ...]


@dataclass(slots=True)
class _Examination:
    """What was found so far; each check leaves here what later ones need."""

    bundle: Bundle
    keys: Keys | None
    checkpoint: Checkpoint | None = None
    note: Note | None = None
    anchors: list[_Anchored] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    history: History = field(default_factory=lambda: History(generations=(), wrong=None))
    grown: list[_Anchored] = field(default_factory=list)  # those of check 9 that hold
    findings: list[Finding] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)

    def found(self, number: int, wrong: str | None, well: str = "") -> bool:
        """Put a finding down: ``wrong`` says why it does not hold, None that it does."""
        said = Finding(number=number, title=TITLES[number], holds=wrong is None, words=wrong or well)
        self.findings.append(said)
        return wrong is None

    def found_of_log(self, number: int, wrong: str | None, well: str) -> None:
        """The same for what says something only about a log whose keys are known: else it is not made."""
        if wrong is None and self.keys is None:
            self.not_made(number, f"{WHOSE} {well}")
        else:
            self.found(number, wrong, well)

    @property
    def known(self) -> tuple[Keys, ...]:
        """The sets of keys that are this log's, for who trusts those from outside."""
        if self.keys is None:
            return ()
        return (*forward(self.history, self.keys), *(g.keys for g in reached(self.history, self.keys)))

    def not_made(self, number: int, why: str) -> None:
        self.findings.append(Finding(number=number, title=TITLES[number], holds=None, words=why))


def check(
    bundle: Bundle, vkeys: str | None = None, policy: Policy | None = None, roots: bytes | None = None
) -> Verdict:
    """Make the checks of :data:`TITLES`, all of them, whatever fails.

    ``vkeys``: the log's public keys as text; without them, those of the policy's log lines. ``roots``:
    certificates in PEM. Raises `audit.verify.VerificationError` for keys that are none.
    """
    try:
        keys = None if vkeys is None else read_keys(vkeys)
    except Malformed as wrong:
        raise VerificationError(str(wrong)) from wrong
    if keys is None and policy is not None and policy.logs:
        keys = policy.logs
    made = _Examination(bundle, keys, not_proved=[NOTHING_AFTER, NOT_TRUE])
    with _no_search_for_cycles():
        _files(made)
        _page(made)
        _spelling(made)
        _chain(made)
        _inclusion(made)
        _steps(made)
        signed = _signature(made)
        _history(made)
        made.not_proved.append(OTHER_TRAIL[bundle.trail])
        _growth(made)
        _witnesses(made, policy)
        _times(made, roots)
    return Verdict(
        findings=tuple(made.findings),
        checkpoint=made.checkpoint if signed else None,
        not_proved=tuple(made.not_proved),
    )


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Thousands of events come into being, and none of them goes: looking for garbage among them again and
    again takes a third of the time."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


# --- what the bundle says of itself -------------------------------------------------------


def _files(made: _Examination) -> None:
    """Check 1."""
    bundle, wrong = made.bundle, None
    try:
        made.note = Note.read(bundle.note)
        made.checkpoint = Checkpoint.read(made.note.text)
        if made.checkpoint.origin != bundle.origin:
            wrong = (
                f"The checkpoint is of the log {made.checkpoint.origin}, the bundle names {bundle.origin}."
            )
    except Malformed as why:
        wrong = f"checkpoint.txt is not a checkpoint: {why}."
    size = 0
    for number, anchor in enumerate(bundle.anchors, 1):
        try:
            made.anchors.append(_anchored(number, anchor))
            before, size = size, made.anchors[-1].checkpoint.size
            if size <= before or (made.checkpoint and size > made.checkpoint.size):
                wrong = wrong or f"{anchor_name(number, 'signed.txt')} is not in its place by size."
        except Malformed as why:
            wrong = wrong or f"anchors/{number:04} is not an earlier checkpoint: {why}."
    if bundle.policy is not None:
        try:
            Policy.read(bundle.policy)
        except Malformed as why:
            wrong = wrong or f"policy.txt is not a policy: {why}."
    made.found(
        1,
        wrong,
        f"{len(bundle.events)} events of the {bundle.trail} trail of kit {bundle.kit} with their proofs, one"
        f" checkpoint, {len(bundle.anchors)} anchors, {len(bundle.keys)} events about keys.",
    )


def _anchored(number: int, anchor: Anchor) -> _Anchored:
    note = Note.read(anchor.note)
    if Note.read(anchor.signed).text != note.text:
        raise Malformed("the cosignatures are not lines of signatures alone")
    lines = read_utf8(anchor.growth, "growth.txt").split("\n")
    if lines.pop():
        raise Malformed("growth.txt does not end with a newline")
    hashes = tuple(read_hash(line, "a hash in growth.txt") for line in lines)
    return _Anchored(number, anchor, Checkpoint.read(note.text), note, hashes)


def _page(made: _Examination) -> None:
    """Check 2."""
    try:
        same = page(made.bundle) == made.bundle.readme
    except Malformed as why:
        made.found(2, f"The page that belongs to this bundle cannot be made: {why}.")
        return
    wrong = None if same else "It says something else than the page that follows from the other files."
    made.found(2, wrong, "It follows from the other files, word for word.")


def _spelling(made: _Examination) -> None:
    """Check 3."""
    wrong = None
    for number, data in enumerate(made.bundle.events, 1):
        try:
            made.events.append(decode(data))
        except EventRefused as why:
            wrong = wrong or f"{event_name(number)} is not an event: {why}."
    made.found(3, wrong, f"All {len(made.events)} events have the one spelling of their format.")


def _chain(made: _Examination) -> None:
    """Check 4."""
    wrong, previous, last = None, None, ""
    subject = f"{made.bundle.trail}:{made.bundle.kit}"
    for number, event in enumerate(made.events, 1):
        recorded = event.values["recorded_at"]
        if event.subject != subject:
            wrong = f"Event {number} belongs to another trail, {event.subject}."
        elif event.number != number:
            wrong = f"Where event {number} should stand there is number {event.number}."
        elif event.previous != previous:
            wrong = f"Event {number} does not name the digest of the event before it."
        elif recorded < last:
            wrong = f"Event {number} was recorded before the event before it."
        if wrong:
            break
        previous, last = sha256(event.bytes).hexdigest(), recorded
    if wrong is None and len(made.events) != len(made.bundle.events):
        wrong = "Not every event could be read, so the trail is not shown to be without a gap."
    made.found(
        4,
        wrong,
        f"Numbers 1 to {len(made.events)} follow each other, each with the digest of the one before.",
    )


def _inclusion(made: _Examination) -> None:
    """Check 5, over the events' bytes as they are, whether or not they could be read."""
    bundle, checkpoint = made.bundle, made.checkpoint
    if checkpoint is None:
        made.found(5, "Without a checkpoint this cannot be shown.")
        return
    proofs = ManyProofs(bundle.note, checkpoint)
    for number, (data, proof) in enumerate(zip(bundle.events, bundle.proofs, strict=True), 1):
        try:
            made.indexes.append(proofs.check(sha256(data).digest(), proof))
        except Malformed as why:
            made.indexes.clear()
            made.found(5, f"{proof_name(number)} is not a proof: {why}.")
            return
        except InvalidProof as why:
            made.indexes.clear()
            made.found(5, f"Event {number} is not shown to be in the log: {why}.")
            return
    made.found(
        5,
        None,
        f"All {len(made.indexes)} digests are in the log of {checkpoint.size} leaves that is signed.",
    )


def _steps(made: _Examination) -> None:
    """Check 6."""
    copy = CourtCopy(Trail(made.bundle.trail))
    for event in made.events:
        if wrong := copy.refuses(event):
            made.found(6, f"Event {event.number} ({event.type}): {wrong}.")
            return
    made.found(6, None, "Every step may follow the one before it.")


# --- who signed ---------------------------------------------------------------------------


def _signature(made: _Examination) -> bool:
    """Check 7."""
    made.history = read_history(made.bundle.keys)
    if made.keys is None:
        made.not_made(
            7,
            "No key was given, so nobody is shown to have signed this. The key must come from elsewhere,"
            " never from the bundle.",
        )
        made.not_proved.append(NO_KEY)
        return False
    made.not_proved.append(RIGHT_KEY)
    if made.note is None or made.checkpoint is None:
        return made.found(7, "There is no checkpoint.")
    note, checkpoint = made.note, made.checkpoint
    if lacking := one_algorithm(note, checkpoint.origin, made.keys):
        made.not_proved.append(lacking)
    if unknown := stranger(note, checkpoint.origin, made.known):
        return made.found(7, f"The checkpoint {unknown}.")
    trusted = forward(made.history, made.keys)
    for changes, keys in enumerate(trusted):
        own = [key for key in keys if key.name == checkpoint.origin]
        if own and signed_by(note, own):
            return made.found(7, None, who_signed(note, checkpoint, own, changes))
    reason = why_not(note, checkpoint, trusted[-1])
    if made.bundle.keys and len(trusted) == 1:
        reason += ", and what the log recorded about its keys does not lead from the keys you gave to others"
    return made.found(7, f"The checkpoint is not to be trusted: {reason}.")


def _history(made: _Examination) -> None:
    """Check 8."""
    generations = made.history.generations
    if not made.bundle.keys:
        made.not_made(8, "The bundle has no events about the log's keys.")
        return
    several = f"{len(generations)} sets of keys, one after the other"
    words = "It names " + ("one set of keys" if len(generations) == 1 else several)
    if alone := [day_of(each.event) for each in generations if not each.vouched]:
        words += (
            f"; that of {alone[-1]} is not signed for by the keys before it, as happens when keys are lost,"
            " and has to be known from elsewhere"
        )
    if renewed := [day_of(each.event) for each in generations if each.event.type == "log.recovered"]:
        words += f"; on {renewed[-1]} the log went on under another name"
    for restore in restores([each.event for each in generations]):
        words += (
            f"; when its database was taken back on {restore.day}, {restore.signed} leaves were signed and"
            f" {restore.found} still there: {restore.lost} were lost"
        )
        made.not_proved.append(restore.not_proved)
    if made.history.wrong is None and made.keys is None:
        made.not_made(8, f"No key was given, so it vouches for nothing but itself. {words}.")
        return
    wrong = made.history.wrong or not_this_logs(
        made.history, made.keys or (), made.note, made.checkpoint.origin if made.checkpoint else None
    )
    made.found(8, wrong, f"{words}.")


def _growth(made: _Examination) -> None:
    """Check 9."""
    if not made.bundle.anchors:
        made.not_made(9, "The bundle has no earlier checkpoint that somebody outside has seen.")
        made.not_proved.append(NO_GROWTH)
        return
    if made.checkpoint is None or len(made.anchors) != len(made.bundle.anchors):
        made.found(9, "Without a checkpoint and whole anchors this cannot be shown.")
        return
    sets, wrong = made.known, None
    for each in made.anchors:
        earlier = each.checkpoint
        own = [[key for key in keys if key.name == earlier.origin] for keys in sets]
        try:
            verify_consistency(
                earlier.size, earlier.root, made.checkpoint.size, made.checkpoint.root, each.hashes
            )
        except InvalidProof as why:
            wrong = wrong or (
                f"It is not shown that the log only grew from {earlier.size} to {made.checkpoint.size}"
                f" leaves: {why}."
            )
            continue
        if made.keys is not None and not any(
            keys and signed_by(Note.read(each.anchor.signed), keys) for keys in own
        ):
            wrong = (
                wrong
                or f"{anchor_name(each.number, 'signed.txt')} is not signed by any known keys of the log."
            )
            continue
        made.grown.append(each)
    sizes = ", ".join(str(each.checkpoint.size) for each in made.anchors[:12])
    more = f" and {len(made.anchors) - 12} more" if len(made.anchors) > 12 else ""
    made.found_of_log(
        9, wrong, f"It grew from {sizes}{more} to {made.checkpoint.size} leaves, and lost none of these."
    )


# --- who saw it, and when -----------------------------------------------------------------


def _witnesses(made: _Examination, policy: Policy | None) -> None:
    """Check 10: the checkpoint first, then the anchors from the largest down."""
    if policy is None:
        made.not_made(10, "No policy was given (--policy): it says which witnesses you trust, and how many.")
        made.not_proved.append(NO_WITNESS)
        return
    if policy.quorum is None:
        made.not_made(10, "The policy wants no witness.")
        made.not_proved.append(NO_WITNESS)
        return
    policy, selves = _independent(made, policy)
    notes = [(a.checkpoint.size, a.note) for a in reversed(made.grown)]
    if made.note is not None and made.checkpoint is not None:
        notes.insert(0, (made.checkpoint.size, made.note))
    reached_, told, wrong = 0, "There is no checkpoint", None
    try:
        for at, (size, note) in enumerate(notes):
            quorum = policy.judge(note)
            if at == 0:
                told = quorum.words
            if quorum.reached and _of_its_log(policy, note):
                wrong = wrong or _seen_before(made, size, quorum)
                if size > reached_:
                    reached_, told = size, quorum.words
    except NotSigned as why:
        made.found(10, f"A cosignature is not what it claims: {why}.")
        made.not_proved.append(NO_QUORUM)
        return
    seen = [n for n, index in enumerate(made.indexes, 1) if index < reached_]
    if not seen or wrong:
        if policy.logs and notes and not _of_its_log(policy, notes[0][1]):
            told = f"The policy is for other keys of a log than those that signed this. {told}"
        made.found(10, selves + (wrong or told))
        made.not_proved.append(NO_QUORUM)
        return
    unseen = sorted(set(range(1, len(made.indexes) + 1)) - set(seen))
    made.found_of_log(10, None, f"{selves}{told} This covers {_numbers(seen)}{_but(unseen)}.")
    if made.keys is None:
        made.not_proved.append(NO_WITNESS_OF_LOG)
    if unseen:
        made.not_proved.append(f"That the log showed everyone the same {_numbers(unseen)}: they came later.")


def _independent(made: _Examination, policy: Policy) -> tuple[Policy, str]:
    """The policy without witnesses that are the log itself, by key or name, and which those were."""
    keys = {*(made.keys or ()), *(key for each in made.history.generations for key in each.keys)}
    names = {made.bundle.origin, *(key.name for key in keys)}
    policy, selves = policy.without(keys, names)
    which = " and ".join(selves)
    return policy, f"Not counted, because it is the log itself: {which}. " if selves else ""


def _seen_before(made: _Examination, size: int, quorum: Quorum) -> str | None:
    """Which event says that it was recorded after witnesses had seen it."""
    for one in quorum.cosigned:
        for event, index in zip(made.events, made.indexes, strict=False):
            late = one.at is not None and event.recorded_at.timestamp() > one.at + CLOCKS_DIFFER.seconds
            if index < size and late:
                return (
                    f"Event {event.number} says that it was recorded on {_moment(event.recorded_at)}, but a"
                    f" checkpoint that covers it was cosigned before that, by {one.words()}."
                )
    return None


def _of_its_log(policy: Policy, note: Note) -> bool:
    """Whether the note is signed by a log of the policy, where it names any."""
    try:
        return not policy.logs or bool(verify(note, policy.logs))
    except NotSigned:
        return False


def _times(made: _Examination, roots: bytes | None) -> None:
    """Check 11."""
    stamped = [each for each in made.anchors if each.anchor.stamps]
    if roots is None or not stamped:
        told = "No roots were given (--roots): they say which authorities of time stamps you trust."
        if not stamped:
            told = "The bundle has no time stamp."
        made.not_made(11, told)
        made.not_proved.append(NO_ROOTS if roots is None else NO_STAMP)
        return
    wrong, holding = None, []
    for each in stamped:
        try:
            holding.append((each, check_chain(each.anchor.stamps, each.anchor.signed, roots)))
        except StampRefused as why:
            wrong = wrong or f"anchors/{each.number:04}: {why}"
    usable = [(each.checkpoint.size, chain) for each, chain in holding if each in made.grown]
    if wrong is None and not usable:
        wrong = "No stamp is over a checkpoint from which the log only grew."
    earliest = _earliest(made.indexes, usable)
    for event, stamp in ((e, earliest[e.number]) for e in made.events if e.number in earliest):
        if event.recorded_at > stamp.at + CLOCKS_DIFFER:
            wrong = wrong or (
                f"Event {event.number} says that it was recorded on {_moment(event.recorded_at)}, but a"
                f" checkpoint that covers it was stamped before that, on {_moment(stamp.at)}."
            )
    made.found_of_log(11, wrong, _table(earliest, usable))
    made.not_proved.append(NOT_BEFORE if usable and wrong is None else NO_STAMP)
    last = max((size for size, _ in usable), default=0)
    later = [n for n, index in enumerate(made.indexes, 1) if index >= last]
    if later and wrong is None:
        made.not_proved.append(
            f"When {_numbers(later)} came about, beyond the log's own word: no stamp covers that."
        )


def _earliest(indexes: Sequence[int], usable: Sequence[tuple[int, Sequence[Stamped]]]) -> dict[int, Stamped]:
    """For each event's number the earliest stamp over a checkpoint that covers it."""
    earliest: dict[int, Stamped] = {}
    for n, index in enumerate(indexes, 1):
        covering = [chain[0] for size, chain in usable if index < size]
        if covering:
            earliest[n] = min(covering, key=lambda stamped: stamped.at)
    return earliest


def _table(earliest: Mapping[int, Stamped], usable: Sequence[tuple[int, Sequence[Stamped]]]) -> str:
    """For runs of events: no later than when, and by whom."""
    lines = []
    for _, run in groupby(earliest, key=lambda n: (earliest[n].at, earliest[n].authority)):
        numbers = list(run)
        stamped = earliest[numbers[0]]
        lines.append(f"{_numbers(numbers)}: no later than {_moment(stamped.at)}, by {stamped.authority}")
    expires = max((chain[-1].expires for _, chain in usable), default=None)
    held = "" if expires is None else f" What is stamped holds by itself until {_moment(expires)}."
    return ("; ".join(lines) or "No event is covered by a stamp") + "." + held


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _numbers(numbers: Iterable[int]) -> str:
    """Numbers of events as runs: "events 1 to 4 and 7"."""
    runs: list[str] = []
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        run = [n for _, n in group]
        runs.append(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]))
    many = len(runs) > 1 or " to " in runs[0]
    *most, last = runs
    return f"event{'s' if many else ''} {', '.join(most)}{' and ' if most else ''}{last}"


def _but(numbers: Sequence[int]) -> str:
    return f", and not {_numbers(numbers)}" if numbers else ""
