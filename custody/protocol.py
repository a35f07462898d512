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
from typing import Final

from custody.axes import (
    APPROVAL_FALLS,
    BACK_TO_RUNNING,
    CLOCK,
    ENDED,
    NOT_ENDED,
    PEOPLE,
    STANDING,
    TO_STOPPED,
    TOLD_OF_ITS_END,
    UNREPORTED,
    VICTIM,
    C,
    Custody,
    L,
    Legal,
    R,
    Retention,
    Step,
    Trail,
    choices_step,
    custody_step,
    kit_step,
)

__all__ = [
    "CHOICES_STEPS",
    "CUSTODY_STEPS",
    "ENDED",
    "OTHER_STEPS",
    "STEPS",
    "Custody",
    "Legal",
    "Retention",
    "Step",
    "Trail",
]

CUSTODY_STEPS: Final[Mapping[str, Step]] = {
    "kit.registered": custody_step("a kit is registered at a centre", "centre examined_on"),
    "package.packed": custody_step(
        "items are put into a new package", "packages", "items brought_by", packs=True, retention=STANDING
    ),
    "package.sealed": custody_step(
        "a package is closed with a seal", "packages", custody={C.PACKED: C.SEALED}
    ),
    "seal.checked": custody_step(
        "the seal was looked at and is intact", "packages", custody={C.SEALED: C.SEALED, C.STORED: C.STORED}
    ),
    "seal.found_broken": custody_step(
        "the seal was found broken, or another seal was found",
        "packages",
        custody={C.SEALED: C.SEALED, C.STORED: C.STORED, C.IN_TRANSIT: C.IN_TRANSIT},
        finding=True,
    ),
    "package.opened": custody_step(
        "a seal is broken, with a reason", "packages reason", custody={C.SEALED: C.OPENED}
    ),
    "package.resealed": custody_step(
        "a package is closed with a new seal",
        "packages",
        custody={C.OPENED: C.SEALED, C.SEALED: C.SEALED, C.STORED: C.SEALED},
    ),
    "package.stored": custody_step(
        "a package is put into a place", "packages place", custody={C.SEALED: C.STORED}
    ),
    "package.moved": custody_step(
        "a package goes to another place", "packages place", custody={C.STORED: C.STORED}
    ),
    "package.taken": custody_step(
        "a package is taken out of its place", "packages", custody={C.STORED: C.SEALED}
    ),
    "package.taken_over": custody_step(
        "a colleague takes over what somebody who left still held",
        "packages counterpart reason",
        custody={C.PACKED: C.PACKED, C.SEALED: C.SEALED, C.OPENED: C.OPENED},
        finding=True,
    ),
    "handover.offered": custody_step(
        "packages are offered to a receiver, due by a time",
        "packages handover counterpart due_at",
        custody={C.SEALED: C.IN_TRANSIT, C.STORED: C.IN_TRANSIT},
        retention=STANDING,
    ),
    "handover.carried": custody_step(
        "a courier signed for packages on the way",
        "packages handover carrier",
        custody={C.IN_TRANSIT: C.IN_TRANSIT},
    ),
    "handover.accepted": custody_step(
        "the receiver accepts the packages", "packages handover counterpart", custody={C.IN_TRANSIT: C.SEALED}
    ),
    "handover.refused": custody_step(
        "the receiver refuses the packages",
        "packages handover reason",
        custody={C.IN_TRANSIT: C.SEALED},
    ),
    "handover.cancelled": custody_step(
        "the giver takes the offer back", "packages handover", custody={C.IN_TRANSIT: C.SEALED}
    ),
    "handover.acceptance_recorded": custody_step(
        "acceptance recorded by the giver: the receiver has no account",
        "packages handover counterpart",
        custody={C.IN_TRANSIT: C.SEALED},
    ),
    "handover.received_back": custody_step(
        "packages come back from a holder without an account",
        "packages counterpart",
        custody={C.SEALED: C.SEALED},
    ),
    "package.split": custody_step(
        "an opened package becomes several", "packages items reason", custody={C.OPENED: C.SPLIT}, packs=True
    ),
    "package.joined": custody_step(
        "opened packages become one", "packages items reason", custody={C.OPENED: C.JOINED}, packs=True
    ),
    "labels.printed": custody_step("labels are printed; a reprint voids the older one", "labels"),
    "labels.swapped": custody_step(
        "two labels were found swapped", "packages finding", custody=NOT_ENDED, finding=True, people=2
    ),
    "item.found_missing": custody_step("an item was found missing", "items", finding=True),
    "item.found": custody_step("a missing item was found", "items", finding=True),
    "package.found_elsewhere": custody_step(
        "a package was found in another place than recorded",
        "packages place",
        custody={C.STORED: C.STORED, C.SEALED: C.STORED, C.IN_TRANSIT: C.STORED},
        finding=True,
    ),
    "incident.touched": custody_step(
        "an incident at the place touched these packages",
        "packages finding place",
        custody=NOT_ENDED,
        finding=True,
    ),
    "package.lost": custody_step(
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
    "package.found": custody_step(
        "a lost package was found", "packages", custody={C.LOST: C.SEALED}, finding=True
    ),
    "search.ended": custody_step(
        "two people ended the search for a lost package",
        "packages reason",
        custody={C.LOST: C.LOST},
        finding=True,
        people=2,
    ),
    "package.voided": custody_step(
        "a package was registered in error and is empty",
        "packages reason",
        custody={C.PACKED: C.VOID},
        people=2,
    ),
    "event.corrected": custody_step("what an earlier event says is corrected", "cites reason"),
    "order.entered": custody_step(
        "a judge's order is entered; the kit is held at once", "order", retention=STANDING, legal=UNREPORTED
    ),
    "order.confirmed": custody_step(
        "a second person confirms the order", "order", retention=STANDING, legal=UNREPORTED, people=2
    ),
    "match.confirmed": custody_step(
        "two staff confirmed that kit and person match", "request", retention=STANDING, people=2
    ),
    "kit.linked": custody_step(
        "the kit is linked to a police report",
        "link",
        "request",
        legal={L.DECLARED: L.LINKED},
        retention=TO_STOPPED,
    ),
    "kit.linked_by_order": custody_step(
        "the kit is linked on a judge's order",
        "link order",
        "request",
        legal={L.UNREPORTED: L.LINKED},
        retention=TO_STOPPED,
    ),
    "link.moved": custody_step(
        "another prosecutor's office takes the file",
        "link",
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
    ),
    "link.in_error": custody_step(
        "the link to a report was an error",
        "reason",
        legal={L.LINKED: L.DECLARED},
        retention={R.STOPPED: R.STOPPED},
        people=2,
    ),
    "order_link.in_error": custody_step(
        "the link on an order was an error",
        "reason",
        legal={L.LINKED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "link.ended": custody_step(
        "the prosecutor's office ended the link in writing",
        "documents reason",
        legal={L.LINKED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "kit.released": custody_step(
        "the police accepted evidence for the prosecution file",
        "packages",
        custody={C.SEALED: C.SEALED},
        legal={L.LINKED: L.RELEASED, L.RELEASED: L.RELEASED},
    ),
    "release.in_error": custody_step(
        "the release was an error; the packages return sealed",
        "reason",
        legal={L.RELEASED: L.LINKED},
        people=2,
    ),
    "kit.opened_to_centre": custody_step(
        "the prosecutor's office lets the centre read the kit again",
        legal={L.RELEASED: L.RELEASED},
    ),
    "package.deposited": custody_step(
        "a package is deposited at the court registry",
        "packages place",
        custody={C.SEALED: C.DEPOSITED},
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
    ),
    "package.returned": custody_step(
        "belongings go back to the victim",
        "packages",
        custody={C.SEALED: C.RETURNED, C.STORED: C.RETURNED},
        legal=UNREPORTED,
        retention=STANDING,
        people=2,
    ),
    "package.destroyed": custody_step(
        "a package is destroyed before an observer",
        "packages",
        "items labels",
        custody={C.PACKED: C.DESTROYED, C.SEALED: C.DESTROYED, C.STORED: C.DESTROYED},
        legal=UNREPORTED,
        retention={R.DISPOSED: R.DISPOSED},
        people=3,
    ),
}

CHOICES_STEPS: Final[Mapping[str, Step]] = {
    "agreement.recorded": choices_step(
        "what the victim agreed to", "documents decided_by language channel", "items", retention=STANDING
    ),
    "term.agreed": choices_step(
        "the term of keeping",
        "age_class policy term",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING},
    ),
    "card.issued": choices_step("the victim took a card, or wanted none", "card", retention=STANDING),
    "card.stopped": choices_step(
        "the card no longer opens anything", "reason", writers=PEOPLE | VICTIM | CLOCK
    ),
    "card.renewed": choices_step(
        "the victim took a new card; the earlier one opens nothing", "how", retention=STANDING, people=2
    ),
    "channel.proved": choices_step(
        "the safe channel was tried, and the victim confirmed it",
        "channel how",
        retention=STANDING,
        writers=PEOPLE | VICTIM,
    ),
    "channel.changed": choices_step(
        "two staff recorded another safe channel", "channel language how", retention=STANDING, people=2
    ),
    "majority.confirmed": choices_step(
        "the victim, a minor at the examination, has come of age", "how", retention=STANDING, people=2
    ),
    "private.changed": choices_step("the private part was changed", "private", retention=STANDING),
    "kit.restricted": choices_step("the kit is restricted to its named readers", "readers"),
    "restriction.lifted": choices_step("the kit is no longer restricted", "reason", people=2),
    "victim.visited": choices_step("the victim looked at the page", writers=VICTIM),
    "victim.asked": choices_step(
        "the victim asked the centre for something", "how", retention=STANDING, writers=PEOPLE | VICTIM
    ),
    "report.declared": choices_step(
        "the victim decided to report",
        "how",
        "decided_by",
        legal={L.UNREPORTED: L.DECLARED},
        retention=TO_STOPPED,
        writers=PEOPLE | VICTIM,
    ),
    "report.withdrawn": choices_step(
        "the victim withdrew the report before the link; the term runs again",
        "how term policy",
        "decided_by",
        legal={L.DECLARED: L.UNREPORTED},
        retention={R.STOPPED: R.RUNNING},
        people=2,
    ),
    "withdrawal.wished": choices_step(
        "the victim wishes to withdraw after the link; the prosecutor's office decides",
        "how",
        legal={L.LINKED: L.LINKED, L.RELEASED: L.RELEASED},
        writers=PEOPLE | VICTIM,
    ),
    "term.restarted": choices_step(
        "the term runs again after a link ended",
        "term policy",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING},
    ),
    "term.extended": choices_step(
        "the victim asked to keep the evidence longer",
        "how term policy",
        "decided_by",
        legal=UNREPORTED,
        retention=BACK_TO_RUNNING,
        writers=PEOPLE | VICTIM,
    ),
    "term.corrected": choices_step(
        "the age class was wrong; the term is set again",
        "age_class policy term reason",
        legal=UNREPORTED,
        retention=BACK_TO_RUNNING,
        people=2,
    ),
    "term.moved": choices_step(
        "the term follows a later policy version, which keeps the kit longer",
        "policy term how reason",
        legal=UNREPORTED,
        retention=BACK_TO_RUNNING,
    ),
    "hold.placed": choices_step(
        "the kit is held: nothing may be destroyed",
        "hold",
        "decided_by",
        retention=APPROVAL_FALLS,
        holds=1,
        writers=PEOPLE | VICTIM,
    ),
    "hold.reviewed": choices_step(
        "a hold was looked at and goes on, until its next review", "hold reason", retention=STANDING
    ),
    "hold.lifted": choices_step("a hold is lifted", "hold", retention=STANDING, holds=-1, people=2),
    "notice.due": choices_step(
        "the term is ending; the victim is to be told",
        "",
        "channel remind_on",
        legal=UNREPORTED,
        retention={R.RUNNING: R.NOTICE_DUE},
        writers=CLOCK,
    ),
    "notice.repeated": choices_step(
        "a later point of notice; the victim is to be told again",
        "",
        "channel remind_on",
        legal=UNREPORTED,
        retention={R.NOTICE_DUE: R.NOTICE_DUE},
        writers=CLOCK,
    ),
    "notice.queued": choices_step(
        "a person had the service send the notice",
        "channel",
        legal=UNREPORTED,
        retention={R.NOTICE_DUE: R.NOTICE_DUE, R.EXPIRED: R.EXPIRED},
    ),
    "notice.attempted": choices_step(
        "the victim was told, or could not be reached",
        "how",
        "channel until",
        retention=TOLD_OF_ITS_END,
        writers=PEOPLE | CLOCK,
    ),
    "term.expired": choices_step(
        "the term is over; people have work to do",
        legal=UNREPORTED,
        retention={R.NOTICE_DUE: R.EXPIRED},
        writers=CLOCK,
    ),
    "destruction.requested": choices_step(
        "the victim asked for destruction",
        "how",
        "decided_by",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING, R.NOTICE_DUE: R.NOTICE_DUE},
        writers=PEOPLE | VICTIM,
    ),
    "destruction.confirmed": choices_step(
        "two staff confirmed identity and free will; the cooling-off begins",
        "until",
        "decided_by",
        legal=UNREPORTED,
        retention={R.RUNNING: R.RUNNING, R.NOTICE_DUE: R.NOTICE_DUE},
        people=2,
    ),
    "destruction.taken_back": choices_step(
        "the victim took the request back",
        "how",
        "decided_by",
        retention=APPROVAL_FALLS,
        writers=PEOPLE | VICTIM,
    ),
    "destruction.cooled_off": choices_step(
        "the cooling-off is over; the term ends now",
        "term",
        legal=UNREPORTED,
        retention={R.RUNNING: R.EXPIRED, R.NOTICE_DUE: R.EXPIRED},
        writers=CLOCK,
    ),
    "disposal.proposed": choices_step(
        "a custodian proposes the disposal", "packages", legal=UNREPORTED, retention={R.EXPIRED: R.PROPOSED}
    ),
    "disposal.approved": choices_step(
        "a coordinator approves the disposal, or anew that of what was found after it",
        legal=UNREPORTED,
        retention={R.PROPOSED: R.APPROVED, R.DISPOSED: R.DISPOSED},
    ),
    "disposal.withdrawn": choices_step(
        "the proposal or approval is taken back",
        "reason",
        retention={R.PROPOSED: R.EXPIRED, R.APPROVED: R.EXPIRED},
    ),
    "disposal.carried_out": choices_step(
        "the disposal was carried out before an observer",
        "packages",
        legal=UNREPORTED,
        retention={R.APPROVED: R.DISPOSED},
        people=3,
    ),
    "disposal.nothing_left": choices_step(
        "the term is over and nothing of the kit is left to destroy",
        "reason",
        legal=UNREPORTED,
        retention={R.EXPIRED: R.DISPOSED},
        people=2,
    ),
    "choices.disclosed": choices_step(
        "the choices trail is handed out on a judge's order", "order", people=2
    ),
    "key.destroyed": choices_step(
        "the data key was destroyed after the contest period",
        "until",
        retention={R.DISPOSED: R.DISPOSED},
        writers=CLOCK,
    ),
}


OTHER_STEPS: Final[Mapping[str, Step]] = {
    "organisation.registered": kit_step(
        Trail.ORGANISATION, "an organisation takes part", "register", writers=CLOCK
    ),
    "organisation.changed": kit_step(
        Trail.ORGANISATION, "an organisation's particulars change", "register", writers=CLOCK
    ),
    "numbers.reserved": kit_step(
        Trail.ORGANISATION, "kit numbers are set aside for an outage", "numbers", "centre"
    ),
    "duty.opened": kit_step(
        Trail.ORGANISATION, "the sealed duty credential of a centre is opened, with a reason", "reason until"
    ),
    "duty.used": kit_step(
        Trail.ORGANISATION, "somebody else signs in with the duty credential that is open", "reason until"
    ),
    "duty.reviewed": kit_step(
        Trail.ORGANISATION, "a coordinator looked into why the duty credential was opened", "cites"
    ),
    "master_key.replaced": kit_step(
        Trail.ORGANISATION,
        "a new master key wraps the data keys of a centre's kits",
        "reason how",
        writers=CLOCK,
    ),
    "person.registered": kit_step(Trail.PERSON, "a person becomes known", "register", writers=CLOCK),
    "person.appointed": kit_step(Trail.PERSON, "a person takes up a function", "register", writers=CLOCK),
    "person.left": kit_step(Trail.PERSON, "a person's function ends", "register", writers=CLOCK),
    "person.account_added": kit_step(
        Trail.PERSON, "a person has one more account to sign in with", "register", writers=CLOCK
    ),
    "person.account_removed": kit_step(
        Trail.PERSON, "an account no longer signs a person in", "register", writers=CLOCK
    ),
    "person.merged": kit_step(
        Trail.PERSON, "a person registered twice turns out to be another", "register", writers=CLOCK
    ),
    "place.opened": kit_step(Trail.PLACE, "a place comes into use", "register", writers=PEOPLE | CLOCK),
    "place.closed": kit_step(Trail.PLACE, "a place is no longer used", "reason", writers=PEOPLE | CLOCK),
    "stock_take.taken": kit_step(
        Trail.PLACE, "everything at a place was scanned and compared with the record", "how"
    ),
    "incident.opened": kit_step(Trail.PLACE, "an incident at a place", "reason finding", "until"),
    "policy.adopted": kit_step(Trail.POLICY, "a retention policy is adopted", "policy digest", people=2),
    "request.received": kit_step(Trail.REQUEST, "the police ask for evidence", "naming"),
    "request.answered": kit_step(Trail.REQUEST, "a centre looked and answered the request", "how", people=2),
    "log.opened": kit_step(Trail.LOG, "a log begins", "digest", "log vkeys", writers=CLOCK),
    "log.keys_changed": kit_step(
        Trail.LOG, "other keys sign the log from now on", "log vkeys", "retiring", writers=CLOCK
    ),
    "log.recovered": kit_step(
        Trail.LOG, "the log goes on under a new origin after a restore", "log vkeys resumed", writers=CLOCK
    ),
    "access.recorded": kit_step(
        Trail.READS, "somebody read", "read purpose", "centre digest kit reason request"
    ),
}

STEPS: Final[Mapping[str, Step]] = {**CUSTODY_STEPS, **CHOICES_STEPS, **OTHER_STEPS}
