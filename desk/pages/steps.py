"""Which steps a page offers: those that the table of permissions and the protocol both allow now.

Only an offer. Whether a step is taken is decided by the rules when its form is sent, and by the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from custody.handling import SAMPLE_FREE
from custody.kit import Kit, Package
from custody.people import Actor, Function
from custody.permission import may, with_justice
from custody.protocol import STEPS, Custody, Legal, Retention
from desk import texts
from retention.deciding import nobody_decides, of_age
from retention.notice import BY_SERVICE, settled

# The event that each action records first: its row of the protocol says from which states it may start.
RECORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "handover.accept": ("handover.accepted",),
    "handover.offer": ("handover.offered",),
    "package.store": ("package.stored", "package.moved"),
    "seal.check": ("seal.checked",),
    "package.seal": ("package.sealed",),
    "package.take": ("package.taken",),
    "package.take_over": ("package.taken_over",),
    "handover.carry": ("handover.carried",),
    "handover.record_acceptance": ("handover.acceptance_recorded",),
    "handover.refuse": ("handover.refused",),
    "handover.cancel": ("handover.cancelled",),
    "handover.receive_back": ("handover.received_back",),
    "package.open": ("package.opened",),
    "package.reseal": ("package.resealed",),
    "package.deposit": ("package.deposited",),
    "package.return": ("package.returned",),
    "package.find": ("package.found", "package.found_elsewhere"),
    "package.lose": ("package.lost",),
    "search.end": ("search.ended",),
    "package.split": ("package.split",),
    "package.void": ("package.voided",),
    "package.join": ("package.joined",),
    "incident.open": ("incident.touched",),
    "labels.swapped": ("labels.swapped",),
    "item.finding": ("item.found_missing",),
    "kit.supplement": ("package.packed",),
    "labels.print": ("labels.printed",),
    "report.declare": ("report.declared",),
    "report.withdraw": ("report.withdrawn",),
    "withdrawal.wish": ("withdrawal.wished",),
    "order.enter": ("order.entered",),
    "order.confirm": ("order.confirmed",),
    "choices.disclose": ("choices.disclosed",),
    "kit.link": ("kit.linked", "kit.linked_by_order"),
    "link.move": ("link.moved",),
    "link.error": ("link.in_error", "order_link.in_error"),
    "link.end": ("link.ended",),
    "release.error": ("release.in_error",),
    "kit.restrict": ("kit.restricted",),
    "restriction.lift": ("restriction.lifted",),
    "release.open": ("kit.opened_to_centre",),
    "term.extend": ("term.extended",),
    "term.correct": ("term.corrected",),
    "hold.place": ("hold.placed",),
    "hold.lift": ("hold.lifted",),
    "hold.review": ("hold.reviewed",),
    "term.move": ("term.moved",),
    "majority.confirm": ("majority.confirmed",),
    "card.stop": ("card.stopped",),
    "card.renew": ("card.renewed",),
    "channel.prove": ("channel.proved",),
    "channel.change": ("channel.changed",),
    "notice.send": ("notice.queued",),
    "notice.attempt": ("notice.attempted",),
    "destruction.ask": ("destruction.requested",),
    "destruction.confirm": ("destruction.confirmed",),
    "destruction.take_back": ("destruction.taken_back",),
    "disposal.propose": ("disposal.proposed",),
    "disposal.approve": ("disposal.approved",),
    "disposal.withdraw": ("disposal.withdrawn",),
    "disposal.carry_out": ("disposal.carried_out",),
    "disposal.close_empty": ("disposal.nothing_left",),
}

# Steps on packages that are taken after scanning them, the usual ones first.
WITH_PACKAGES: Final = (
    "handover.accept",
    "handover.offer",
    "package.store",
    "seal.check",
    "package.seal",
    "package.take",
    "handover.carry",
    "handover.record_acceptance",
    "handover.refuse",
    "handover.cancel",
    "handover.receive_back",
    "package.open",
    "package.reseal",
    "package.deposit",
    "package.return",
    "package.find",
    "package.lose",
    "search.end",
    "package.void",
    "incident.open",
    "package.take_over",
)
USUAL: Final = frozenset({"handover.accept", "handover.offer", "package.store", "seal.check", "package.seal"})
ONE_PACKAGE: Final = ("package.split",)
TWO_PACKAGES: Final = ("labels.swapped",)

# Steps on the kit as a whole, in the order of its way; what belongs together stands together.
VICTIM_DECIDES: Final = texts._("The victim decides")
HOLDS: Final = texts._("Holds")
CARD_AND_CHANNEL: Final = texts._("The card and the channel")
OTHERS: Final = texts._("Other steps with the kit")
GROUPS_OF_KIT: Final[Mapping[str, tuple[str, ...]]] = {
    VICTIM_DECIDES: (
        "report.declare",
        "term.extend",
        "report.withdraw",
        "withdrawal.wish",
        "destruction.ask",
        "destruction.confirm",
        "destruction.take_back",
        "majority.confirm",
    ),
    HOLDS: ("hold.place", "hold.review", "hold.lift"),
    CARD_AND_CHANNEL: (
        "notice.attempt",
        "notice.send",
        "channel.prove",
        "channel.change",
        "card.stop",
        "card.renew",
    ),
    OTHERS: (
        "labels.print",
        "kit.link",
        "order.enter",
        "order.confirm",
        "kit.supplement",
        "item.finding",
        "package.join",
        "link.move",
        "link.end",
        "link.error",
        "release.error",
        "release.open",
        "kit.restrict",
        "restriction.lift",
        "term.correct",
        "disposal.propose",
        "disposal.approve",
        "disposal.withdraw",
        "disposal.close_empty",
        "choices.disclose",
    ),
}
WITH_KIT: Final = tuple(action for actions in GROUPS_OF_KIT.values() for action in actions)
FIRST_OF_KIT: Final = frozenset(
    {"labels.print", "report.declare", "kit.link", "term.extend", "notice.attempt"}
)


@dataclass(frozen=True, slots=True)
class Offered:
    """A step that a page offers: its action and where its form is."""

    action: str
    href: str
    usual: bool = False
    group: str = ""


def ref(kit: Kit, package: Package) -> str:
    """A package in an address or a form: ``<kit number>.<package>``."""
    return f"{kit.number}.{package.package}"


def possible(action: str, kit: Kit, package: Package | None = None) -> bool:
    """Whether the protocol lets the step start from how the kit, and the package, stand."""
    return any(_starts(type_, kit, package) for type_ in RECORDS[action])


def _starts(type_: str, kit: Kit, package: Package | None) -> bool:
    step = STEPS[type_]
    if package is not None and step.custody and package.state not in step.custody:
        return False
    if step.legal and kit.legal not in step.legal:
        return False
    return not step.retention or kit.retention in step.retention


def for_packages(actor: Actor, chosen: Sequence[tuple[Kit, Package]]) -> list[Offered]:
    """The steps that may be taken with all of these packages together."""
    if not chosen:
        return []
    query = "&".join(f"p={ref(kit, package)}" for kit, package in chosen)
    actions: Iterable[str] = WITH_PACKAGES
    if len(chosen) == 1:
        actions = (*WITH_PACKAGES, *ONE_PACKAGE)
    if len(chosen) == 2:
        actions = (*WITH_PACKAGES, *TWO_PACKAGES)
    found = []
    for action in actions:
        allowed = all(
            may(action, actor, kit, package)
            and possible(action, kit, package)
            and _makes_sense(action, actor, kit, package)
            for kit, package in chosen
        )
        if allowed:
            found.append(Offered(action, f"/do/{action}?{query}", action in USUAL))
    return found


def _makes_sense(action: str, actor: Actor, kit: Kit, package: Package) -> bool:
    """What neither table says, and would only be refused."""
    outside = package.holder is not None and package.holder.person is None
    at_home = package.holder is not None and package.holder.organisation == kit.centre
    match action:
        case "seal.check":
            return package.holder is not None and package.holder.organisation == actor.organisation
        case "handover.receive_back":
            return not at_home
        case "package.void":
            return not kit.items_of(package.package)
        case "package.return":
            inside = kit.items_of(package.package)
            return bool(inside) and all(i.group == SAMPLE_FREE for i in inside) and not kit.holds
        case "package.split":
            return bool(kit.items_of(package.package))
        case "package.reseal":
            return package.state is Custody.OPENED or package.seal_broken
        case "search.end":
            return not package.search_ended
        case "package.find":
            return package.state is Custody.LOST or package.place is not None
        case "incident.open":
            return package.place is not None
        case "handover.offer":
            return not package.seal_broken and not outside
        case _:
            return True


def for_kit(actor: Actor, kit: Kit, purpose: str) -> list[Offered]:
    """The steps that may be taken with the kit as a whole; its pages are opened for ``purpose`` too."""
    return [
        Offered(action, _address(action, kit, purpose), action in FIRST_OF_KIT and _first(action, kit), group)
        for group, actions in GROUPS_OF_KIT.items()
        for action in actions
        if may(action, actor, kit) and possible(action, kit) and _ready(action, kit, actor)
    ]


def _first(action: str, kit: Kit) -> bool:
    """Printing labels comes first only while a package has none."""
    return action != "labels.print" or any(f"P{p.package:02}" not in kit.labels for p in kit.open_packages)


ON_CHANNEL: Final = frozenset({"notice.attempt", "notice.send", "channel.prove"})
"""What is done on the page of the safe channel, where there is one."""


def to_be_told(kit: Kit) -> bool:
    """Whether there is something left to tell the victim: not once the term ended after a notice, or after a
    cooling-off, which the victim asked for."""
    if nobody_decides(kit):
        return False
    return kit.retention is Retention.NOTICE_DUE or not settled(kit)


def _address(action: str, kit: Kit, purpose: str) -> str:
    if action == "labels.print":
        return f"/kits/{kit.number}/labels"
    if action in ("disposal.propose", "disposal.approve"):
        return f"/kits/{kit.number}/disposal?for={purpose}"
    if action in ON_CHANNEL and kit.channel not in (None, "none"):
        return f"/kits/{kit.number}/channel?for={purpose}"
    return f"/do/{action}?kit={kit.number}"


def _ready(action: str, kit: Kit, actor: Actor) -> bool:
    """What the axes do not say: whether there is anything for this step to work on."""
    order_waits = kit.order is not None and not kit.order.confirmed
    confirmed = kit.order is not None and kit.order.confirmed
    match action:
        case "order.enter":
            return kit.order is None
        case "order.confirm":
            return order_waits and kit.order is not None and kit.order.entered_by != actor.person
        case "kit.link":
            return bool(kit.matches) if kit.legal is Legal.DECLARED else confirmed
        case "destruction.ask" | "destruction.confirm" | "destruction.take_back":
            return _of_destruction(action, kit)
        case "disposal.propose":
            return kit.retention is Retention.EXPIRED
        case "disposal.approve":  # what was found after its kit was disposed of has its own page
            return kit.retention is Retention.PROPOSED
        case "restriction.lift":
            return bool(kit.readers)
        case "release.open":
            return with_justice(kit)
        case "item.finding":
            return bool(kit.items)
        case "package.join":
            return sum(p.state is Custody.OPENED for p in kit.open_packages) > 1
        case _:
            return _of_term(action, kit, actor)


def _of_destruction(action: str, kit: Kit) -> bool:
    asked = kit.destruction
    match action:
        case "destruction.ask":
            return asked is None and not nobody_decides(kit)
        case "destruction.confirm":
            return asked is not None and asked.until is None and of_age(kit) and not kit.holds
        case _:
            return asked is not None or kit.ended_by_wish


def _of_term(action: str, kit: Kit, actor: Actor) -> bool:
    """The same, for the steps of the agreed term."""
    match action:
        case "hold.lift":
            return bool(kit.holds)
        case "hold.review":
            of_office = actor.function is Function.MAGISTRATE
            return any(h.ground == "magistrate" or not of_office for h in kit.holds.values())
        case "majority.confirm":
            return not of_age(kit) and not nobody_decides(kit)
        case "card.stop":
            return kit.card == "issued"
        case "card.renew":
            return not nobody_decides(kit)
        case "channel.prove":
            return kit.channel not in (None, "none") and not nobody_decides(kit)
        case "notice.send":
            return kit.channel in BY_SERVICE and to_be_told(kit)
        case "notice.attempt":
            return to_be_told(kit)
        case "disposal.close_empty":
            return not kit.remaining
        case _:
            return True


def packages_on_offer(actor: Actor, kit: Kit) -> list[Package]:
    """Packages of the kit that wait for this person to accept them."""
    return [
        p
        for p in kit.open_packages
        if p.state is Custody.IN_TRANSIT and may("handover.accept", actor, kit, p)
    ]
