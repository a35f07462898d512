"""Whether a kit may be disposed of: every condition, met or not, and what shows it.

A condition is a sentence for people, in the order in which they check them. Its evidence are events of the
kit's two trails (what happened, when, the digest of its bytes), and for requests of the police what they
named and who answered them. PostgreSQL keeps the same conditions once more on the kit's row, whatever is
shown here.

Every request of the police that names the centre and was received since the examination stands in the list,
and every other one that still waits, each with why it is not this kit. A request that waits blocks; of one
that matched another kit it is said that it did, never which.

Pure: no database, no clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from custody.event import Event
from custody.kit import Kit, Package
from custody.protocol import Custody, Legal, Retention
from retention.term import is_over

DISPOSABLE: Final = (Custody.PACKED, Custody.SEALED, Custody.STORED)
BELONGINGS: Final = "belongings"
EXPIRED: Final = (Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An event that shows a condition: its type, trail and number, when, and the SHA-256 of its bytes; the
    names of who recorded and signed it, as far as they have one."""

    type: str
    trail: str
    number: int
    at: datetime
    digest: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must be so before a disposal.

    ``says`` tells how it is: a whole sentence for people, with places for ``values``.
    """

    name: str
    met: bool
    says: str
    values: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()

    @property
    def told(self) -> str:
        """The sentence in English, with its values."""
        return self.says.format(**self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSeen:
    """A request of the police that names the centre: what it named, and how it was answered.

    ``zone`` and ``by`` are names of an organisation and of people; ``kit`` the number that was named, if one
    was; ``how`` is ``match``, ``no_match`` or None while it waits.
    """

    id: str
    zone: str
    received_at: datetime
    examined_on: date | None = None
    kit: str | None = None
    how: str | None = None
    answered_at: datetime | None = None
    by: tuple[str, ...] = ()


def found_after(kit: Kit) -> tuple[Package, ...]:
    """What is there, or looked for again, of a kit that was disposed of; nothing of any other kit."""
    return kit.remaining if kit.retention is Retention.DISPOSED else ()


def eligibility(
    kit: Kit, at: datetime, requests: Sequence[RequestSeen] = (), events: Sequence[Event] = ()
) -> tuple[Condition, ...]:
    """Every condition of a disposal, met or not, in the order in which people check them.

    ``requests`` are those of the police to the kit's centre; ``events`` those of both trails, from which the
    evidence is taken. Of what was found after its kit was disposed of it is asked whether it can be destroyed
    too: the term stays over, and no report, order or hold can stand on a kit that was disposed of.
    """
    shown = _Shown(events)
    if found_after(kit):
        return (
            _closed(kit, shown),
            *_packages(kit, shown),
            *_not_there(kit, shown),
            *_requests(kit, requests, shown.matched()),
        )
    return (
        _report(kit, shown),
        _order(kit, shown),
        _holds(kit, shown),
        *_term(kit, at, shown),
        _handovers(kit, shown),
        *_packages(kit, shown),
        *_items(kit, shown),
        *_requests(kit, requests, shown.matched()),
    )


def _condition(
    name: str,
    met: bool,
    so: str,
    not_so: str,
    evidence: Sequence[Evidence] = (),
    values: Mapping[str, Any] | None = None,
) -> Condition:
    return Condition(
        name=name, met=met, says=so if met else not_so, values=values or {}, evidence=tuple(evidence)
    )


class _Shown:
    """The events of a kit, asked for the last one of some types."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = sorted(events, key=lambda e: (e.recorded_at, e.subject, e.number))

    def last(self, *types: str) -> tuple[Evidence, ...]:
        """The last event of these types, as evidence; nothing where there is none."""
        for event in reversed(self._events):
            if event.type in types:
                return (_evidence(event),)
        return ()

    def matched(self) -> frozenset[str]:
        """Requests that were matched with this very kit, whatever became of the report since."""
        return frozenset(str(e.get("request")) for e in self._events if e.type == "match.confirmed")

    def last_of_packages(self, packages: Sequence[Package]) -> tuple[Evidence, ...]:
        """For each package the last event that says where it went, each event once."""
        found: dict[str, Evidence] = {}
        for package in packages:
            for event in reversed(self._events):
                named = {int(entry["package"]) for entry in event.get("packages") or ()}
                if event.type in _WHERE and package.package in named:
                    found[event.digest] = _evidence(event)
                    break
        return tuple(sorted(found.values(), key=lambda e: e.at))


_WHERE: Final = frozenset(
    {
        "kit.registered",
        "package.packed",
        "package.sealed",
        "package.stored",
        "package.moved",
        "package.taken",
        "package.taken_over",
        "package.resealed",
        "package.found",
        "package.found_elsewhere",
        "package.lost",
        "search.ended",
        "handover.accepted",
        "handover.received_back",
    }
)


def _evidence(event: Event) -> Evidence:
    trail = event.subject.partition(":")[0]
    named = [str(each["name"]) for each in (event.who, *event.get("with", ())) if each.get("name")]
    return Evidence(
        type=event.type,
        trail=trail,
        number=event.number,
        at=event.recorded_at,
        digest=event.digest,
        by=tuple(named),
    )


def _closed(kit: Kit, shown: _Shown) -> Condition:
    """The end of the kit stands, and with it what was told the victim: nothing of it is kept again."""
    return Condition(
        name="closed",
        met=True,
        says="The kit was closed on {at}, and package {packages} was found afterwards.",
        values={
            "at": kit.disposed_at or "–",
            "packages": ", ".join(str(p.package) for p in found_after(kit)),
        },
        evidence=(*shown.last("disposal.carried_out", "disposal.nothing_left"), *shown.last("package.found")),
    )


def _report(kit: Kit, shown: _Shown) -> Condition:
    free = kit.legal is Legal.UNREPORTED
    types = ("report.withdrawn", "link.in_error", "link.ended") if free else ("report.declared", "kit.linked")
    return _condition(
        "report",
        free,
        "No report stands.",
        "A report was declared or the kit is linked to one: it cannot be disposed of.",
        shown.last(*types),
    )


def _order(kit: Kit, shown: _Shown) -> Condition:
    return _condition(
        "order",
        kit.order is None,
        "No order of a judge stands.",
        "An order of a judge stands on this kit: it cannot be disposed of.",
        shown.last("order.confirmed", "order.entered") if kit.order else (),
    )


def _holds(kit: Kit, shown: _Shown) -> Condition:
    return _condition(
        "hold",
        not kit.holds,
        "No hold stands.",
        "A hold stands on this kit. Lift it first.",
        shown.last("hold.placed") if kit.holds else shown.last("hold.lifted"),
    )


TERM_SET: Final = (
    "term.agreed",
    "term.extended",
    "term.corrected",
    "term.moved",
    "term.restarted",
    "report.withdrawn",
    "destruction.cooled_off",
)


OF_THE_WISH: Final = ("destruction.requested", "destruction.confirmed", "destruction.cooled_off")


def asked_early(kit: Kit) -> bool:
    """Whether the term ended because the victim asked for destruction and cooled off: no notice belongs to
    it, and the clock set its end."""
    return kit.retention in EXPIRED and kit.notice_due_at is None


def notice_settled(kit: Kit) -> bool:
    """Whether the victim was told, or it is explained why not; or the victim asked for the destruction."""
    return kit.expires_at is not None


def _term(kit: Kit, at: datetime, shown: _Shown) -> tuple[Condition, ...]:
    over = kit.retention in EXPIRED and kit.term is not None and is_over(kit.term, at)
    early = asked_early(kit)
    settled = notice_settled(kit)
    # A term can be over by its own end while a cooling-off runs: that was promised to the victim too.
    cooling = kit.destruction.until if kit.destruction else None
    until = max(kit.expires_at, cooling) if kit.expires_at and cooling else kit.expires_at
    waited = until is not None and until <= at
    told = (  # the end of the cooling-off settles it
        "The victim asked for the destruction, two people confirmed it, and the time to think is over."
        if early
        else "The notice is settled: the victim was told, or it is recorded why not."
    )
    ends = {"day": kit.term.end} if kit.term else {"day": "–"}
    return (
        _condition(
            "term",
            over,
            "The term ended on {day}.",
            "The term is not over.",
            (*shown.last(*TERM_SET), *shown.last("term.expired")),
            values=ends if over else {},
        ),
        _condition(
            "notice",
            settled,
            told,
            "The notice is not settled: nobody was told, and no reason is recorded. Record it first.",
            tuple(one for each in OF_THE_WISH for one in shown.last(each))
            if early
            else (*shown.last("notice.due"), *shown.last("notice.attempted")),
        ),
        _condition(
            "grace",
            waited,
            "The time after the notice is over."
            if not early
            else "No time after a notice is to be waited for.",
            "Who was told has time until {until}. Nothing is disposed of before."
            if settled
            else "The time after the notice is not over.",
            values={"until": until} if settled and not waited else {},
        ),
    )


def _handovers(kit: Kit, shown: _Shown) -> Condition:
    return _condition(
        "handover",
        not kit.handovers and kit.in_transit == 0,
        "No hand-over is open.",
        "A hand-over is open. It has to be accepted, refused or cancelled first.",
        shown.last("handover.offered") if kit.handovers or kit.in_transit else (),
    )


LOST: Final = (
    "Package {packages} is lost. Find it, or let two people end the search.",
    "Packages {packages} are lost. Find them, or let two people end the search.",
)
ELSEWHERE: Final = (
    "Package {packages} is not with the centre.",
    "Packages {packages} are not with the centre.",
)
OPENED: Final = (
    "Package {packages} is open. Seal it again first.",
    "Packages {packages} are open. Seal them again first.",
)
GIVEN_UP: Final = (
    "Two people ended the search for package {packages}. It is not destroyed, and stays lost.",
    "Two people ended the search for packages {packages}. They are not destroyed, and stay lost.",
)
MISSING_SINCE: Final = (
    "Item {items} was not found on {at}. It is not destroyed, and the certificate says so.",
    "Items {items} were not found on {at}. They are not destroyed, and the certificate says so.",
)
MISSING: Final = (
    "Item {items} was not found. It is not destroyed, and the certificate says so.",
    "Items {items} were not found. They are not destroyed, and the certificate says so.",
)
OWN: Final = (
    "Item {items} is the victim's own: belongings can be returned first; what is not returned is destroyed.",
    "Items {items} are the victim's own: belongings can be returned first; what is not returned is"
    " destroyed.",
)


def _by_number(sentences: tuple[str, str], of: Sequence[object]) -> str:
    """The sentence for one, or the one for several."""
    return sentences[len(of) > 1]


def _packages(kit: Kit, shown: _Shown) -> tuple[Condition, ...]:
    left = kit.remaining
    lost = tuple(p for p in left if p.state is Custody.LOST)
    given_up = tuple(p for p in kit.open_packages if p not in left)
    open_ = tuple(p for p in left if p.state is Custody.OPENED)
    elsewhere = tuple(p for p in left if p not in lost and not _at_centre(kit, p))
    not_here = (
        "Nothing of this kit is left to destroy. Two people close it, with the reason."
        if not left
        else _by_number(LOST, lost)
        if lost
        else _by_number(ELSEWHERE, elsewhere)
    )
    named = ", ".join(str(p.package) for p in lost or elsewhere)
    opened = _by_number(OPENED, open_)
    conditions = [
        _condition(
            "packages",
            bool(left) and not lost and not elsewhere,
            "Every package that is left is with the centre.",
            not_here,
            shown.last_of_packages(left),
            values={"packages": named} if named else {},
        ),
        _condition(
            "opened",
            not open_,
            "No package is open.",
            opened,
            values={"packages": ", ".join(str(p.package) for p in open_)} if open_ else {},
        ),
    ]
    if given_up:
        conditions.append(
            Condition(
                name="search",
                met=True,
                says=_by_number(GIVEN_UP, given_up),
                values={"packages": ", ".join(str(p.package) for p in given_up)},
                evidence=shown.last("search.ended"),
            )
        )
    return tuple(conditions)


def not_found(kit: Kit) -> tuple[tuple[tuple[int, ...], datetime | None], ...]:
    """Items that were looked for and are not there, in the order of the findings, each with its instant;
    None where the finding is not known here."""
    left = {number for number, item in kit.items.items() if item.missing}
    found: list[tuple[tuple[int, ...], datetime | None]] = []
    for finding in reversed(kit.findings):  # the last one of an item counts
        if finding.type == "item.found_missing" and (here := left & set(finding.items)):
            found.insert(0, (tuple(sorted(here)), finding.at))
            left -= here
    return (*found, *(((number,), None) for number in sorted(left)))


def belongings(kit: Kit) -> tuple[int, ...]:
    """What is left of the victim's own belongings: it can be given back before a disposal, and not after."""
    if kit.retention is Retention.DISPOSED:
        return ()
    inside = {p.package for p in kit.remaining}
    return tuple(
        sorted(
            i.item
            for i in kit.items.values()
            if i.group == BELONGINGS and i.package in inside and not i.missing
        )
    )


def _items(kit: Kit, shown: _Shown) -> Iterator[Condition]:
    """What is said of single items; none of it stands in the way."""
    yield from _not_there(kit, shown)
    if own := belongings(kit):
        yield Condition(
            name="belongings",
            met=True,
            says=_by_number(OWN, own),
            values={"items": ", ".join(map(str, own))},
        )


def _not_there(kit: Kit, shown: _Shown) -> Iterator[Condition]:
    for items, at in not_found(kit):
        yield Condition(
            name="not_found",
            met=True,
            says=_by_number(MISSING_SINCE if at else MISSING, items),
            values={"items": ", ".join(map(str, items)), **({"at": at} if at else {})},
            evidence=shown.last("item.found_missing"),
        )


def _at_centre(kit: Kit, package: Package) -> bool:
    return (
        package.holder is not None
        and package.holder.organisation == kit.centre
        and package.state in (*DISPOSABLE, Custody.OPENED)
    )


# --- requests of the police ------------------------------------------------------------------------


def since_examination(kit: Kit, request: RequestSeen) -> bool:
    """Whether a request may concern this kit at all: it came after the examination, or waits."""
    return request.how is None or request.received_at.date() >= kit.examined_on


def _requests(kit: Kit, requests: Sequence[RequestSeen], matched: frozenset[str]) -> tuple[Condition, ...]:
    found = tuple(
        _request(kit, each, matched)
        for each in sorted(requests, key=lambda r: r.received_at)
        if since_examination(kit, each)
    )
    return found or (
        Condition(
            name="request",
            met=True,
            says="No request of the police named this centre since the examination.",
        ),
    )


def _request(kit: Kit, request: RequestSeen, matched: frozenset[str]) -> Condition:
    """One request with why it is not this kit, or that it blocks."""
    values: dict[str, Any] = {"zone": request.zone, "received": request.received_at}
    if request.how is None:
        return Condition(
            name="request",
            met=False,
            says="The request of {zone} of {received} waits for an answer. Answer it first.",
            values=values,
        )
    values |= {"people": " & ".join(request.by) or "–", "answered": request.answered_at or "–"}
    if request.id in {match.request for match in kit.matches}:
        return Condition(
            name="request",
            met=False,
            says="The request of {zone} of {received} was matched with this kit by {people} on {answered}.",
            values=values,
        )
    if request.id in matched:
        says = (
            "The request of {zone} of {received} was matched with this kit by {people} on {answered}; what it"
            " was matched for no longer stands."
        )
    elif request.kit is not None and request.kit != kit.number:
        says = "The request of {zone} of {received} named another kit; answered by {people} on {answered}."
    elif request.examined_on is not None and request.examined_on != kit.examined_on:
        values["day"] = request.examined_on
        says = (
            "The request of {zone} of {received} named an examination on {day}, another day than this kit's;"
            " answered by {people} on {answered}."
        )
    elif request.how == "match":
        says = "The request of {zone} of {received} matched another kit; answered by {people} on {answered}."
    else:
        says = (
            "The request of {zone} of {received} has no match here: {people} looked and said so on"
            " {answered}."
        )
    return Condition(name="request", met=True, says=says, values=values)
