"""Readings that stand out: rules as data, each with a reason that a coordinator can read.

A rule accuses nobody. It says which readings somebody who knows the centre should look at; a reviewed one
stops standing out. What the victim reads on the own page is nobody's business here.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from custody.directory import CALENDAR, day_of
from custody.event import Event
from custody.people import STAFF, Function
from custody.purpose import CHECKED, GLASS, OVERSIGHT

MOST_KITS: Final = 20
"""Different kits in an hour. A stock-take of a shelf may pass it, and then is worth a glance; a shift at the
bench sees two or three kits."""
WITHIN: Final = timedelta(hours=1)
MOST_TIMES: Final = 5
"""The same part of the same kit on one day by one person who records nothing on it. Looking something up
takes one reading, comparing with a colleague two or three."""
NIGHT_FROM: Final = 22
NIGHT_UNTIL: Final = 6
"""Hours in which nurses are on duty and offices are closed."""
AFTER_THE_END: Final = timedelta(hours=24)
"""Who released or disposed of a kit looks at how it went; a day later there is nothing left to do with it."""
ONE_LOOK: Final = timedelta(minutes=1)
"""Opening a kit's page reads the kit, its trail and its private part: one look, which is marked once."""
ON_AN_ORDER: Final = frozenset({"private_disclose", "private_disclosed"})
EXPORTS: Final = frozenset({"custody_trail_export", "choices_trail_export"})
"""What is handed out: of the private part on a judge's order alone, of the trails also without one."""
FOUND: Final = ("in_order", "asked_the_person", "passed_on")
"""What a review of a reading came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One access record, as far as it is looked at here."""

    digest: str
    at: datetime
    reader: str  # the person, or the function where there is none
    person: str | None
    name: str | None
    function: Function
    organisation: str | None
    read: str
    purpose: str
    kit: str | None
    reason: str | None = None
    reviews: str | None = None  # digest of the record that this one reviews

    @property
    def day(self) -> date:
        return day_of(self.at)


def reading_of(record: Event) -> Reading:
    """The reading out of the bytes of its record."""
    function = Function(record.who["function"])
    person = record.who.get("person")
    return Reading(
        digest=record.digest,
        at=record.recorded_at,
        reader=str(person or function),
        person=person,
        name=record.who.get("name"),
        function=function,
        organisation=record.who.get("organisation"),
        read=record.get("read"),
        purpose=record.get("purpose"),
        kit=record.get("kit"),
        reason=record.get("reason"),
        reviews=record.get("digest"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What readings are held against. ``acts``: (person, kit, day) of everything that was recorded on these
    kits; ``ended``: since when a kit is released or disposed of, and which of both; ``readers``: who is
    named as a reader of a restricted kit; ``ordered``: kits of which a judge ordered something."""

    acts: Collection[tuple[str, str, date]] = frozenset()
    ended: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    readers: Mapping[str, Collection[str]] = field(default_factory=dict)
    ordered: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """``says`` is the message key of why a reading stands out; ``finds`` answers the digests it marks."""

    name: str
    says: str
    finds: Callable[[Sequence[Reading], Around], set[str]]


def _glass(readings: Sequence[Reading], around: Around) -> set[str]:
    return {each.digest for each in readings if each.read == GLASS}


def _many_kits(readings: Sequence[Reading], around: Around) -> set[str]:
    """The reading of the kit that is one too many within the hour, and all further ones."""
    found, recent = set(), defaultdict[str, list[Reading]](list)
    for each in readings:
        window = [r for r in recent[each.reader] if each.at - r.at < WITHIN] + [each]
        recent[each.reader] = window
        if len({r.kit for r in window}) > MOST_KITS:
            found.add(each.digest)
    return found


def _again_and_again(readings: Sequence[Reading], around: Around) -> set[str]:
    acted = set(around.acts)
    found, times = set(), Counter[tuple[str, str | None, date, str]]()
    for each in readings:
        seen = (each.reader, each.kit, each.day, each.read)
        times[seen] += 1
        if times[seen] > MOST_TIMES and (each.reader, each.kit, each.day) not in acted:
            found.add(each.digest)
    return found


def _never_acted(readings: Sequence[Reading], around: Around) -> set[str]:
    """For staff: police and justice always state a reason, and act on packages, seldom on the kit."""
    acted = {(person, kit) for person, kit, _ in around.acts}
    return {
        each.digest
        for each in readings
        if each.function in STAFF
        and each.purpose not in CHECKED
        and (each.reader, each.kit) not in acted
        and not _expected(each, around)
    }


def _expected(reading: Reading, around: Around) -> bool:
    """What a person does who answers for kits they never worked with. If it stood out, every review would
    leave the next thing to review."""
    kit = reading.kit or ""
    return (
        (reading.function is Function.COORDINATOR and reading.purpose == "review")
        or reading.person in around.readers.get(kit, ())
        or reading.read in ON_AN_ORDER
        or (reading.read in EXPORTS and kit in around.ordered)
    )


def _at_night(readings: Sequence[Reading], around: Around) -> set[str]:
    def night(at: datetime) -> bool:
        hour = at.astimezone(CALENDAR).hour
        return hour >= NIGHT_FROM or hour < NIGHT_UNTIL

    return {each.digest for each in readings if each.function is not Function.NURSE and night(each.at)}


def _after_the_end(readings: Sequence[Reading], around: Around) -> set[str]:
    """Police and justice go on reading what was released to them; nobody reads what is gone."""
    found = set()
    for each in readings:
        how, since = around.ended.get(each.kit or "", (None, None))
        concerned = how == "disposed" or each.function in STAFF
        if concerned and since is not None and each.at > since + AFTER_THE_END:
            found.add(each.digest)
    return found


RULES: Final = (
    Rule("glass", "the glass was broken", _glass),
    Rule("many_kits", "more than 20 kits within an hour", _many_kits),
    Rule("again_and_again", "more than five times on one day, and nothing recorded", _again_and_again),
    Rule("never_acted", "a stated reason, by somebody who never worked with this kit", _never_acted),
    Rule("at_night", "between 22:00 and 6:00, and not a nurse", _at_night),
    Rule("after_the_end", "after the kit was released or disposed of", _after_the_end),
)


def unusual(readings: Iterable[Reading], around: Around) -> dict[str, tuple[str, ...]]:
    """Of the readings that stand out: the digest, and the names of the rules, in the order of ``RULES``."""
    looked = sorted((r for r in readings if _judged(r)), key=lambda r: (r.at, r.digest))
    marked = {rule.name: rule.finds(looked, around) for rule in RULES}
    found: dict[str, tuple[str, ...]] = {}
    first: dict[tuple[str, str | None], tuple[datetime, set[str]]] = {}
    for each in looked:
        names = tuple(rule.name for rule in RULES if each.digest in marked[rule.name])
        if not names:
            continue
        begun = first.get((each.reader, each.kit))
        if begun is not None and each.at - begun[0] < ONE_LOOK and set(names) <= begun[1]:
            continue  # part of a look that is marked already
        first[each.reader, each.kit] = each.at, set(names)
        found[each.digest] = names
    return found


def _judged(reading: Reading) -> bool:
    people = reading.function not in (Function.VICTIM, Function.CLOCK)
    return people and reading.kit is not None and reading.read not in OVERSIGHT


def reviewed_by(records: Iterable[Reading]) -> dict[str, Reading]:
    """Which record was reviewed, and by the record of which review."""
    return {r.reviews: r for r in records if r.read == "reading_reviewed" and r.reviews is not None}
