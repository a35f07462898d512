"""The protocol: every step that can be recorded, as data.

A kit moves along three axes, and one status would lie about at least two of them:

- *custody*, one for each package: where the sealed unit is in its life;
- *legal*, one for the kit: whose business it is;
- *retention*, one for the kit: how far the agreed term has run, while nobody has reported.

:data:`STEPS` says for every type of event in which trail it stands, which states it may start from
and where it leads, what it must and may state, and how many people it takes. A state that is not
named as a start is refused. An empty table means that the axis does not matter to the step. The same
rows are loaded into PostgreSQL (``custody.step``), so the database refuses what these tables refuse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypedDict, Unpack


class Trail(StrEnum):
    CUSTODY = "custody"  # goes to court
    CHOICES = "choices"  # leaves only on a judge's order
    ORGANISATION = "organisation"
    PERSON = "person"
    PLACE = "place"
    POLICY = "policy"
    REQUEST = "request"
    LOG = "log"
    READS = "reads"  # who looked at what; the second log


class Custody(StrEnum):
    PACKED = "packed"
    SEALED = "sealed"  # closed, in somebody's hands
    STORED = "stored"
    IN_TRANSIT = "in_transit"  # offered and not yet accepted
    OPENED = "opened"
    SPLIT = "split"
    JOINED = "joined"
    DESTROYED = "destroyed"
    RETURNED = "returned"
    DEPOSITED = "deposited"
    LOST = "lost"
    VOID = "void"


class Legal(StrEnum):
    UNREPORTED = "unreported"
    DECLARED = "declared"
    LINKED = "linked"
    RELEASED = "released"


class Retention(StrEnum):
    RUNNING = "running"
    NOTICE_DUE = "notice_due"
    EXPIRED = "expired"
    PROPOSED = "proposed"
    APPROVED = "approved"
    STOPPED = "stopped"  # a report or an order: no term runs
    DISPOSED = "disposed"


ENDED: Final = frozenset(
    {Custody.SPLIT, Custody.JOINED, Custody.DESTROYED, Custody.RETURNED, Custody.DEPOSITED, Custody.VOID}
)

C, L, R = Custody, Legal, Retention

# Who writes a step: people, the victim by the card's page, the clock.
PEOPLE: Final = frozenset({"people"})
VICTIM: Final = frozenset({"victim"})
CLOCK: Final = frozenset({"clock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One type of event.

    ``people`` counts everybody who must sign, the one who records included; they are different people.
    ``packs`` says that packages come into being (those with ``from``, where ``custody`` is not empty).
    ``holds`` is what the step adds to the number of holds that stand on the kit.
    ``writers`` says whether people, the victim or the clock write it; what takes two people takes people.
    """

    trail: Trail
    says: str
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    custody: Mapping[Custody, Custody] = field(default_factory=dict)
    legal: Mapping[Legal, Legal] = field(default_factory=dict)
    retention: Mapping[Retention, Retention] = field(default_factory=dict)
    packs: bool = False
    holds: int = 0
    finding: bool = False
    people: int = 1
    writers: frozenset[str] = PEOPLE


ANYTIME: Final = frozenset(
    {"occurred_at", "paper", "lost", "documents", "private", "reason", "cites", "with", "place", "finding"}
)

UNREPORTED: Final[Mapping[Legal, Legal]] = {L.UNREPORTED: L.UNREPORTED}
STANDING: Final[Mapping[Retention, Retention]] = {
    r: r for r in R if r is not R.DISPOSED
}  # any but disposed, unchanged
BACK_TO_RUNNING: Final[Mapping[Retention, Retention]] = dict.fromkeys(
    (R.RUNNING, R.NOTICE_DUE, R.EXPIRED, R.PROPOSED, R.APPROVED), R.RUNNING
)
TO_STOPPED: Final[Mapping[Retention, Retention]] = {r: R.STOPPED for r in R if r is not R.DISPOSED}
APPROVAL_FALLS: Final[Mapping[Retention, Retention]] = {
    **STANDING,
    R.PROPOSED: R.EXPIRED,
    R.APPROVED: R.EXPIRED,
}
NOT_ENDED: Final[Mapping[Custody, Custody]] = {
    c: c for c in (C.PACKED, C.SEALED, C.STORED, C.IN_TRANSIT, C.OPENED)
}


class Axes(TypedDict, total=False):
    """What a row of the tables below may say beside its words and fields; see :class:`Step`."""

    custody: Mapping[Custody, Custody]
    legal: Mapping[Legal, Legal]
    retention: Mapping[Retention, Retention]
    packs: bool
    holds: int
    finding: bool
    people: int
    writers: frozenset[str]


def _kit(trail: Trail, says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return Step(
        trail=trail,
        says=says,
        needs=frozenset(needs.split()),
        may=frozenset(may.split()) | ANYTIME,
        **axes,
    )


def _custody(says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return _kit(Trail.CUSTODY, says, needs, may, **axes)


def _choices(says: str, needs: str = "", may: str = "", **axes: Unpack[Axes]) -> Step:
    return _kit(Trail.CHOICES, says, needs, may, **axes)


CUSTODY_STEPS: Final[Mapping[str, Step]] = {
    "kit.registered": _custody("a kit is registered at a centre", "centre examined_on"),
    "package.packed": _custody(
        "items are put into a new package", "packages", "items brought_by", packs=True, retention=STANDING
    ),
    "package.sealed": _custody("a package is closed with a seal", "packages", custody={C.PACKED: C.SEALED}),
    "seal.checked": _custody(
        "the seal was looked at and is intact", "packages", custody={C.SEALED: C.SEALED, C.STORED: C.STORED}
    ),
    "seal.found_broken": _custody(
        "the seal was found broken, or another seal was found",
        "packages",
        custody={C.SEALED: C.SEALED, C.STORED: C.STORED, C.IN_TRANSIT: C.IN_TRANSIT},
        finding=True,
    ),
    "package.opened": _custody(
        "a seal is broken, with a reason", "packages reason", custody={C.SEALED: C.OPENED}
    ),
    "package.resealed": _custody(
        "a package is closed with a new seal",
        "packages",
        custody={C.OPENED: C.SEALED, C.SEALED: C.SEALED, C.STORED: C.SEALED},
    ),
    "package.stored": _custody(
        "a package is put into a place", "packages place", custody={C.SEALED: C.STORED}
    ),
    "package.moved": _custody(
        "a package goes to another place", "packages place", custody={C.STORED: C.STORED}
    ),
    "package.taken": _custody(
        "a package is taken out of its place", "packages", custody={C.STORED: C.SEALED}
    ),
    "package.taken_over": _custody(
        "a colleague takes over what somebody who left still held",
        "packages counterpart reason",
        custody={C.PACKED: C.PACKED, C.SEALED: C.SEALED, C.OPENED: C.OPENED},
        finding=True,
    ),
    "handover.offered": _custody(
        "packages are offered to a receiver, due by a time",
        "packages handover counterpart due_at",
        custody={C.SEALED: C.IN_TRANSIT, C.STORED: C.IN_TRANSIT},
        retention=STANDING,
    ),
    "handover.carried": _custody(
        "a courier signed for packages on the way",
        "packages handover carrier",
        custody={C.IN_TRANSIT: C.IN_TRANSIT},
    ),
    "handover.accepted": _custody(
        "the receiver accepts the packages", "packages handover counterpart", custody={C.IN_TRANSIT: C.SEALED}
    ),
    "handover.refused": _custody(
        "the receiver refuses the packages",
        "packages handover reason",
        custody={C.IN_TRANSIT: C.SEALED},
    ),
    "handover.cancelled": _custody(
        "the giver takes the offer back", "packages handover", custody={C.IN_TRANSIT: C.SEALED}
    ),
    "handover.acceptance_recorded": _custody(
        "acceptance recorded by the giver: the receiver has no account",
        "packages handover counterpart",
        custody={C.IN_TRANSIT: C.SEALED},
    ),
    "handover.received_back": _custody(
        "packages come back from a holder without an account",
        "packages counterpart",
        custody={C.SEALED: C.SEALED},
    ),
    "package.split": _custody(
        "an opened package becomes several", "packages items reason", custody={C.OPENED: C.SPLIT}, packs=True
    ),
    "package.joined": _custody(
        "opened packages become one", "packages items reason", custody={C.OPENED: C.JOINED}, packs=True
    ),
    "labels.printed": _custody("labels are printed; a reprint voids the older one", "labels"),
    "labels.swapped": _custody(
        "two labels were found swapped", "packages finding", custody=NOT_ENDED, finding=True, people=2
    ),
    "item.found_missing": _custody("an item was found missing", "items", finding=True),
    "item.found": _custody("a missing item was found", "items", finding=True),
    "package.found_elsewhere": _custody(
        "a package was found in another place than recorded",
        "packages place",
        custody={C.STORED: C.STORED, C.SEALED: C.STORED, C.IN_TRANSIT: C.STORED},
        finding=True,
    ),
    "incident.touched": _custody(
        "an incident at the place touched these packages",
        "packages finding place",
        custody=NOT_ENDED,
        finding=True,
    ),
    "package.lost": _custody(
        "a package cannot be found",
        "packages reason",
        custody={
            C.PACKED: C.LOST,
            C.SEALED: C.LOST,
            C.STORED: C.LOST,
            C.IN_TRANSIT: C.LOST,
            C.OPENED: C.LOST,
        },
        finding=True,
    ),
    "package.found": _custody(
        "a lost package was found", "packages", custody={C.LOST: C.SEALED}, finding=True
    ),
    "package.voided": _custody(
        "a package was registered in error and is empty",
        "packages reason",
        custody={C.PACKED: C.VOID},
        people=2,
    ),
    "event.corrected": _custody("what an earlier event says is corrected", "cites reason"),
    "order.entered": _custody(
        "a judge's order is entered; the kit is held at once", "order", retention=STANDING, legal=UNREPORTED
    ),
    "order.confirmed": _custody(
        "a second person confirms the order", "order", retention=STANDING, legal=UNREPORTED, people=2
    ),
    "match.confirmed": _custody(
        "two staff confirmed that kit and person match", "request", retention=STANDING, people=2
    ),
    "kit.linked": _custody(
        "the kit is linked to a police report",
        "link",
        "request",
        legal={L.DECLARED: L.LINKED},
        retention=TO_STOPPED,
    ),
    "kit.linked_by_order": _custody(
        "the kit is linked on a judge's order",
        "link order",
        "request",
        legal={L.UNREPORTED: L.LINKED},
        retention=TO_STOPPED,
    ),
    "link.moved": _custody(
        "another prosecutor's office takes the file",
        "link",
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
    ),
    "link.in_error": _custody(
        "the link to a report was an error",
        "reason",
        legal={L.LINKED: L.DECLARED},
        retention={R.STOPPED: R.STOPPED},
        people=2,
    ),
    "order_link.in_error": _custody(
        "the link on an order was an error",
        "reason",
        legal={L.LINKED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "link.ended": _custody(
        "the prosecutor's office ended the link in writing",
        "documents reason",
        legal={L.LINKED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "kit.released": _custody(
        "the police accepted evidence for the prosecution file",
        "packages",
        custody={C.SEALED: C.SEALED},
        legal={L.LINKED: L.RELEASED, L.RELEASED: L.RELEASED},
    ),
    "release.in_error": _custody(
        "the release was an error; the packages return sealed",
        "reason",
        legal={L.RELEASED: L.LINKED},
        people=2,
    ),
    "kit.opened_to_centre": _custody(
        "the prosecutor's office lets the centre read the kit again",
        legal={L.RELEASED: L.RELEASED},
    ),
    "package.deposited": _custody(
        "a package is deposited at the court registry",
        "packages place",
        custody={C.SEALED: C.DEPOSITED},
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
    ),
    "package.returned": _custody(
        "belongings go back to the victim",
        "packages",
        custody={C.SEALED: C.RETURNED, C.STORED: C.RETURNED},
        legal=UNREPORTED,
        retention=STANDING,
        people=2,
    ),
    "package.destroyed": _custody(
        "a package is destroyed before an observer",
        "packages",
        "items",
        custody={C.PACKED: C.DESTROYED, C.SEALED: C.DESTROYED, C.STORED: C.DESTROYED},
        legal=UNREPORTED,
        retention={R.DISPOSED: R.DISPOSED},
        people=3,
    ),
}

CHOICES_STEPS: Final[Mapping[str, Step]] = {
    "agreement.recorded": _choices(
        "what the victim agreed to", "documents decided_by language channel", "items", retention=STANDING
    ),
    "term.agreed": _choices(
        "the term of keeping",
        "age_class policy term",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING},
    ),
    "card.issued": _choices("the victim took a card, or wanted none", "card", retention=STANDING),
    "card.stopped": _choices("the card no longer opens anything", "reason", writers=PEOPLE | CLOCK),
    "private.changed": _choices("the private part was changed", "private", retention=STANDING),
    "kit.restricted": _choices("the kit is restricted to its named readers", "readers"),
    "restriction.lifted": _choices("the kit is no longer restricted", "reason", people=2),
    "victim.visited": _choices("the victim looked at the page", writers=VICTIM),
    "victim.asked": _choices(
        "the victim asked the centre for something", "how", retention=STANDING, writers=PEOPLE | VICTIM
    ),
    "report.declared": _choices(
        "the victim decided to report",
        "how",
        legal={L.UNREPORTED: L.DECLARED},
        retention=TO_STOPPED,
        writers=PEOPLE | VICTIM,
    ),
    "report.withdrawn": _choices(
        "the victim withdrew the report before the link; the term runs again",
        "how term policy",
        legal={L.DECLARED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "withdrawal.wished": _choices(
        "the victim wishes to withdraw after the link; the prosecutor's office decides",
        "how",
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
        writers=PEOPLE | VICTIM,
    ),
    "term.restarted": _choices(
        "the term runs again after a link ended",
        "term policy",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING},
    ),
    "term.extended": _choices(
        "the victim asked to keep the evidence longer",
        "how term policy",
        legal=UNREPORTED,
        retention=BACK_TO_RUNNING,
        writers=PEOPLE | VICTIM,
    ),
    "term.corrected": _choices(
        "the age class was wrong; the term is set again",
        "age_class policy term reason",
        legal=UNREPORTED,
        retention=BACK_TO_RUNNING,
        people=2,
    ),
    "hold.placed": _choices(
        "the kit is held: nothing may be destroyed",
        "hold",
        retention=APPROVAL_FALLS,
        holds=1,
        writers=PEOPLE | VICTIM,
    ),
    "hold.lifted": _choices("a hold is lifted", "hold", retention=STANDING, holds=-1, people=2),
    "notice.due": _choices(
        "the term is ending; the victim is to be told",
        legal=UNREPORTED,
        retention={R.RUNNING: R.NOTICE_DUE},
        writers=CLOCK,
    ),
    "notice.attempted": _choices(
        "the victim was told, or could not be reached", "how", retention={R.NOTICE_DUE: R.NOTICE_DUE}
    ),
    "term.expired": _choices(
        "the term is over; people have work to do",
        legal=UNREPORTED,
        retention={R.NOTICE_DUE: R.EXPIRED},
        writers=CLOCK,
    ),
    "destruction.requested": _choices(
        "the victim asked for destruction",
        "how",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING, R.NOTICE_DUE: R.NOTICE_DUE},
        writers=PEOPLE | VICTIM,
    ),
    "destruction.confirmed": _choices(
        "two staff confirmed identity and free will; the cooling-off begins",
        "until",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING, R.NOTICE_DUE: R.NOTICE_DUE},
        people=2,
    ),
    "destruction.taken_back": _choices(
        "the victim took the request back", "how", retention=APPROVAL_FALLS, writers=PEOPLE | VICTIM
    ),
    "destruction.cooled_off": _choices(
        "the cooling-off is over; the term ends now",
        "term",
        legal=UNREPORTED,
        retention={R.RUNNING: R.EXPIRED, R.NOTICE_DUE: R.EXPIRED},
        writers=CLOCK,
    ),
    "disposal.proposed": _choices(
        "a custodian proposes the disposal", "packages", legal=UNREPORTED, retention={R.EXPIRED: R.PROPOSED}
    ),
    "disposal.approved": _choices(
        "a coordinator approves the disposal", legal=UNREPORTED, retention={R.PROPOSED: R.APPROVED}
    ),
    "disposal.withdrawn": _choices(
        "the proposal or approval is taken back",
        "reason",
        retention={R.PROPOSED: R.EXPIRED, R.APPROVED: R.EXPIRED},
    ),
    "disposal.carried_out": _choices(
        "the disposal was carried out before an observer",
        "packages",
        legal=UNREPORTED,
        retention={R.APPROVED: R.DISPOSED},
        people=3,
    ),
    "choices.disclosed": _choices("the choices trail is handed out on a judge's order", "order", people=2),
    "key.destroyed": _choices(
        "the data key was destroyed after the contest period",
        "until",
        retention={R.DISPOSED: R.DISPOSED},
        writers=CLOCK,
    ),
}


def _other(trail: Trail, says: str, needs: str = "", may: str = "", **more: Unpack[Axes]) -> Step:
    return _kit(trail, says, needs, may, **more)


OTHER_STEPS: Final[Mapping[str, Step]] = {
    "organisation.registered": _other(
        Trail.ORGANISATION, "an organisation takes part", "register", writers=CLOCK
    ),
    "organisation.changed": _other(
        Trail.ORGANISATION, "an organisation's particulars change", "register", writers=CLOCK
    ),
    "numbers.reserved": _other(
        Trail.ORGANISATION, "kit numbers are set aside for an outage", "numbers", "centre"
    ),
    "duty.opened": _other(
        Trail.ORGANISATION, "the sealed duty credential of a centre is opened, with a reason", "reason until"
    ),
    "duty.used": _other(
        Trail.ORGANISATION, "somebody else signs in with the duty credential that is open", "reason until"
    ),
    "duty.reviewed": _other(
        Trail.ORGANISATION, "a coordinator looked into why the duty credential was opened", "cites"
    ),
    "master_key.replaced": _other(
        Trail.ORGANISATION,
        "a new master key wraps the data keys of a centre's kits",
        "reason how",
        writers=CLOCK,
    ),
    "person.registered": _other(Trail.PERSON, "a person becomes known", "register", writers=CLOCK),
    "person.appointed": _other(Trail.PERSON, "a person takes up a function", "register", writers=CLOCK),
    "person.left": _other(Trail.PERSON, "a person's function ends", "register", writers=CLOCK),
    "person.account_added": _other(
        Trail.PERSON, "a person has one more account to sign in with", "register", writers=CLOCK
    ),
    "person.account_removed": _other(
        Trail.PERSON, "an account no longer signs a person in", "register", writers=CLOCK
    ),
    "person.merged": _other(
        Trail.PERSON, "a person registered twice turns out to be another", "register", writers=CLOCK
    ),
    "place.opened": _other(Trail.PLACE, "a place comes into use", "register", writers=PEOPLE | CLOCK),
    "place.closed": _other(Trail.PLACE, "a place is no longer used", "reason", writers=PEOPLE | CLOCK),
    "incident.opened": _other(Trail.PLACE, "an incident at a place", "reason finding", "until"),
    "policy.adopted": _other(Trail.POLICY, "a retention policy is adopted", "policy digest", people=2),
    "request.received": _other(Trail.REQUEST, "the police ask for evidence", "naming"),
    "request.answered": _other(Trail.REQUEST, "a centre looked and answered the request", "how", people=2),
    "log.opened": _other(Trail.LOG, "a log begins", "digest", "log vkeys", writers=CLOCK),
    "log.keys_changed": _other(
        Trail.LOG, "other keys sign the log from now on", "log vkeys", "retiring", writers=CLOCK
    ),
    "log.recovered": _other(
        Trail.LOG, "the log goes on under a new origin after a restore", "log vkeys resumed", writers=CLOCK
    ),
    "access.recorded": _other(
        Trail.READS, "somebody read", "read purpose", "centre digest kit reason request"
    ),
}

STEPS: Final[Mapping[str, Step]] = {**CUSTODY_STEPS, **CHOICES_STEPS, **OTHER_STEPS}
