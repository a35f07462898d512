"""What is overdue, and who must act: rules as data, one for each kind of work that was left lying.

A rule names what it watches, after how long that is overdue, whose work it is, and what they do. The times
are those of the policy that the kit keeps (`Policy.deadlines`, `hold_review`, `channel_age`, `unlinked`);
where a policy does not speak of the matter, the time stands here with its reason. An alarm is overdue from
the instant `due_at` on, that instant included, and not a moment before.

Nothing is done by an alarm: it is a sentence for people, and falls silent when the work is done. It knows no
more of a kit than what it is given; the caller gives a kit as far as the person who asks may know of it.

Pure: no database, no clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from custody.kit import Hold, Kit, Package
from custody.people import STAFF, Actor, Function
from custody.permission import PERMISSIONS
from custody.protocol import Custody, Legal, Retention
from retention.deciding import of_age
from retention.eligibility import found_after
from retention.notice import NOT_THERE, TOLD, nobody_to_tell, settled
from retention.period import Limit, end_of, latest_start
from retention.policy import Policy
from retention.term import local_date, over_after, unlinked_work_at

SEAL_CHECKED_WITHIN: Final = timedelta(hours=24)
"""A nurse alone at night closes packages; the next shift looks at the seals."""
ANSWERED_WITHIN: Final = timedelta(days=7)
"""A request of the police is answered, and a victim who asked for something is spoken with, within a week:
a proposal of this service, since no text it was made from names a time."""
REVIEWED_WITHIN: Final = timedelta(days=1)
"""Broken glass and an opened duty credential are looked into on the next day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """Somebody who must act: people in these functions at an organisation; one person, if there is one.

    `but` is the person whose work it is not: who closed a seal does not check it.
    """

    functions: frozenset[Function]
    organisation: str | None = None
    person: str | None = None
    name: str | None = None
    but: str | None = None

    def is_for(self, actor: Actor) -> bool:
        """Whether this person, in this function, is among them."""
        if actor.organisation != self.organisation or actor.function not in self.functions:
            return False
        return actor.person != self.but and self.person in (None, actor.person)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Work that is overdue: by which rule, since when it waits, since when it is late, who must act.

    About a kit (`kit`, and `packages` of it where it is about some), a place, a request of the police, or
    none of them; `about` names what of it: the hold, the request. `why` is what the check said of a kit that
    it set aside.
    """

    rule: str
    since: datetime
    due_at: datetime
    acts: tuple[Acts, ...]
    kit: str | None = None
    packages: tuple[int, ...] = ()
    place: str | None = None
    about: str | None = None
    why: str | None = None

    def is_for(self, actor: Actor) -> bool:
        """Whether this person is among those who must act."""
        return any(each.is_for(actor) for each in self.acts)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of alarm: what it watches, after how long, who must act, what they do. Read it aloud.

    `finds` answers everything of a kit that this rule watches, overdue or not yet; None for what stands on
    no kit (a place, a request, a review), which has a function of its own below.
    """

    name: str
    watches: str
    after: str
    who: frozenset[Function]
    do: str
    finds: Callable[[Kit, Policy], Iterator[Alarm]] | None = None


def alarms_of(kit: Kit, policy: Policy, at: datetime) -> tuple[Alarm, ...]:
    """What is overdue of this kit at the instant `at`, in the order of `RULES`.

    `policy` is the one that the kit keeps; of a kit whose choices are not to be known here, the one in force
    at the centre. Packages that one rule finds with the same people are one alarm.
    """
    return _together(each for each in watched(kit, policy) if each.due_at <= at)


def watched(kit: Kit, policy: Policy) -> tuple[Alarm, ...]:
    """Everything that a rule watches of this kit, each with the instant from which it is overdue."""
    return tuple(each for rule in RULES if rule.finds is not None for each in rule.finds(kit, policy))


def overdue(alarms: Iterable[Alarm], at: datetime) -> tuple[Alarm, ...]:
    """Those of these alarms whose time has come."""
    return tuple(each for each in alarms if each.due_at <= at)


def in_order(alarms: Iterable[Alarm], actor: Actor) -> tuple[Alarm, ...]:
    """First what this person must do, then what is for their organisation, then the rest; in each the latest
    first: what is overdue for longest."""

    def place(alarm: Alarm) -> tuple[int, datetime, str, str]:
        ours = any(each.organisation == actor.organisation for each in alarm.acts)
        rank = 0 if alarm.is_for(actor) else 1 if ours else 2
        return rank, alarm.due_at, alarm.rule, alarm.kit or alarm.place or alarm.about or ""

    return tuple(sorted(alarms, key=place))


def due_after(policy: Policy, since: datetime, limit: Limit) -> datetime:
    """When (UTC) a limit is over: hours by the clock, days with the last hour of their last local day."""
    if limit.hours is not None:
        return since + timedelta(hours=limit.hours)
    if limit.period is None:
        raise TypeError("a limit has hours or a period")
    return over_after(policy, end_of(local_date(policy, since), limit.period))


def _together(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    found: dict[tuple[object, ...], Alarm] = {}
    for each in alarms:
        key = (each.rule, each.acts, each.about)
        first = found.get(key)
        found[key] = each if first is None else _joined(first, each)
    return tuple(found.values())


def _joined(one: Alarm, other: Alarm) -> Alarm:
    return replace(
        one,
        since=min(one.since, other.since),
        due_at=min(one.due_at, other.due_at),
        packages=tuple(sorted({*one.packages, *other.packages})),
    )


# --- who must act -----------------------------------------------------------------------------------------

Fn = Function
NURSES: Final = frozenset({Fn.NURSE, Fn.COORDINATOR})
"""Those who speak with the victim."""
CUSTODY: Final = frozenset({Fn.NURSE, Fn.CUSTODIAN})
"""Those who count what lies in a place, and carry a disposal out."""
REVIEWERS: Final = frozenset({Fn.CUSTODIAN, Fn.COORDINATOR})
COORDINATORS: Final = frozenset({Fn.COORDINATOR})
RECEIVERS: Final = frozenset(PERMISSIONS["handover.accept"])


def _alarm(
    rule: str,
    kit: Kit,
    since: datetime,
    due_at: datetime,
    *acts: Acts,
    packages: tuple[int, ...] = (),
    about: str | None = None,
) -> Alarm:
    return Alarm(
        rule=rule, since=since, due_at=due_at, acts=acts, kit=kit.number, packages=packages, about=about
    )


def _centre(kit: Kit, functions: Iterable[Function], but: str | None = None) -> Acts:
    return Acts(functions=frozenset(functions), organisation=kit.centre, but=but)


# --- packages ---------------------------------------------------------------------------------------------


def _handover_late(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """The receiver accepts or refuses; the giver, who answers for it until then, asks or takes it back."""
    for offer in kit.handovers.values():
        to, of = offer.receiver, offer.giver
        receiver = Acts(functions=RECEIVERS, organisation=to.organisation, person=to.person, name=to.name)
        acts = [receiver]
        if of.organisation is not None and of.organisation != to.organisation:
            acts.append(Acts(functions=RECEIVERS, organisation=of.organisation))
        yield _alarm(
            "handover_late",
            kit,
            offer.offered_at,
            offer.due_at,
            *acts,
            packages=offer.packages,
            about=offer.id,
        )


IN_HANDS: Final = frozenset({Custody.PACKED, Custody.SEALED, Custody.OPENED})


def _not_stored(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    for package in kit.packages.values():
        held, since = package.holder, package.since
        if package.state not in IN_HANDS or package.place is not None or held is None or since is None:
            continue
        if held.organisation != kit.centre:
            continue  # the police and the laboratory have it for their own work
        acts = Acts(functions=frozenset(STAFF), organisation=kit.centre, person=held.person, name=held.name)
        due_at = due_after(policy, since, policy.deadlines.stored_within.limit)
        yield _alarm("not_stored", kit, since, due_at, acts, packages=(package.package,))


def _seal_not_checked(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    for package in kit.packages.values():
        if seal_unseen(kit, package) and package.sealed_at is not None:
            due_at = package.sealed_at + SEAL_CHECKED_WITHIN
            acts = _centre(kit, STAFF, but=package.sealed_by)
            yield _alarm(
                "seal_not_checked", kit, package.sealed_at, due_at, acts, packages=(package.package,)
            )


def seal_unseen(kit: Kit, package: Package) -> bool:
    """Whether only the person who closed it has seen this seal, and the package is still at the centre."""
    return (
        package.state in (Custody.SEALED, Custody.STORED)
        and package.sealed_at is not None
        and not package.seal_checked
        and package.holder is not None
        and package.holder.organisation == kit.centre
    )


# --- notice and term --------------------------------------------------------------------------------------


def _notice_not_settled(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    if not _untold(kit) or _came_back(kit) or kit.notice_due_at is None:
        return
    due_at = due_after(policy, kit.notice_due_at, policy.deadlines.notice_settled.limit)
    yield _alarm("notice_not_settled", kit, kit.notice_due_at, due_at, _centre(kit, NURSES))


def _notice_came_back(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    if _untold(kit) and _came_back(kit):
        at = kit.attempts[-1].at
        yield _alarm("notice_came_back", kit, at, at, _centre(kit, NURSES))


def _untold(kit: Kit) -> bool:
    return kit.retention in TOLD and not settled(kit) and not nobody_to_tell(kit)


def _came_back(kit: Kit) -> bool:
    """Whether the last attempt was one of the service's own, and did not arrive."""
    return bool(kit.attempts) and kit.attempts[-1].how in NOT_THERE - {"not_reached"}


def _channel_old(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """Asked for before it is needed: from the notice period before the day of notice on."""
    if kit.retention is not Retention.RUNNING or kit.legal is not Legal.UNREPORTED or kit.term is None:
        return
    if kit.channel in (None, "none") or not policy.contact.answer or nobody_to_tell(kit):
        return
    opens = latest_start(kit.term.notice_on, policy.notice.period)
    soon = over_after(policy, opens - timedelta(days=1))
    since = kit.channel_proved_at or kit.registered_at
    old = since
    if kit.channel_proved_at is not None:
        last = end_of(local_date(policy, kit.channel_proved_at), policy.channel_age.period)
        old = over_after(policy, last)
    yield _alarm("channel_old", kit, since, max(soon, old), _centre(kit, NURSES))


def _wish_not_heard(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """Not before majority: until then nobody could confirm the wish, and nothing follows from it."""
    asked = kit.destruction
    if asked is None or asked.until is not None or kit.retention is Retention.DISPOSED or not of_age(kit):
        return
    since = max(asked.asked_at, kit.of_age_at or asked.asked_at)
    yield _alarm("wish_not_heard", kit, since, since + ANSWERED_WITHIN, _centre(kit, NURSES))


def _expired_not_reviewed(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """A held kit is looked at with its hold; one whose notice came back with its notice."""
    if kit.retention is not Retention.EXPIRED or kit.holds or kit.expires_at is None or kit.term is None:
        return
    since = max(kit.term.over_at, kit.expires_at)
    due_at = due_after(policy, since, policy.deadlines.expired_reviewed.limit)
    yield _alarm("expired_not_reviewed", kit, since, due_at, _centre(kit, REVIEWERS))


def _proposed_not_decided(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    if kit.retention is not Retention.PROPOSED or kit.disposal is None or kit.expires_at is None:
        return
    since = max(kit.disposal.proposed_at, kit.expires_at)
    due_at = due_after(policy, since, policy.deadlines.expired_reviewed.limit)
    acts = _centre(kit, COORDINATORS, but=kit.disposal.proposed_by)
    yield _alarm("proposed_not_decided", kit, since, due_at, acts)


def _approved_not_carried_out(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    disposal = kit.disposal
    if kit.retention is not Retention.APPROVED or disposal is None or disposal.approved_at is None:
        return
    if kit.expires_at is None:  # the notice came back: that is an alarm of its own
        return
    since = max(disposal.approved_at, kit.expires_at)
    due_at = due_after(policy, since, policy.deadlines.approved_carried_out.limit)
    acts = _centre(kit, CUSTODY, but=disposal.approved_by)
    yield _alarm("approved_not_carried_out", kit, since, due_at, acts)


def _found_after_disposal(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """No report of the victim, hold or return begins with it: the term was over and the victim told. It is
    destroyed as the rest of its kit was, and nobody need wait."""
    for package in found_after(kit):
        named = [f.at for f in kit.findings if f.type == "package.found" and package.package in f.packages]
        since = max(named, default=kit.disposed_at or kit.registered_at)
        acts = _centre(kit, REVIEWERS)
        yield _alarm("found_after_disposal", kit, since, since, acts, packages=(package.package,))


def _hold_not_reviewed(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    for hold in kit.holds.values():
        since = hold.reviewed_at or hold.placed_at
        if since is None or kit.retention is Retention.DISPOSED:
            continue
        acts = [_centre(kit, COORDINATORS)]
        if hold.ground == "magistrate" and kit.link is not None:
            acts.append(Acts(functions=frozenset({Fn.MAGISTRATE}), organisation=kit.link.office))
        due_at = hold_review_over(hold, since, policy)
        yield _alarm("hold_not_reviewed", kit, since, due_at, *acts, about=hold.id)


def hold_review_over(hold: Hold, since: datetime, policy: Policy) -> datetime:
    """When (UTC) the review of a hold is overdue: after its day of review; where none was named, after the
    policy's own period from the day it was placed or last reviewed."""
    day = hold.review_on or end_of(local_date(policy, since), policy.hold_review.period)
    return over_after(policy, day)


# --- report and link --------------------------------------------------------------------------------------


def _report_not_linked(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    if kit.legal is Legal.DECLARED and kit.reported_at is not None:
        due_at = unlinked_work_at(policy, kit.reported_at)
        yield _alarm("report_not_linked", kit, kit.reported_at, due_at, _centre(kit, COORDINATORS))


def _link_not_picked_up(kit: Kit, policy: Policy) -> Iterator[Alarm]:
    """What is on the way to the police already is watched by its own due time."""
    if kit.legal is not Legal.LINKED or kit.linked_at is None or kit.link is None:
        return
    left = [p.package for p in kit.open_packages if _at_centre(kit, p)]
    if left:
        due_at = due_after(policy, kit.linked_at, policy.deadlines.picked_up.limit)
        police = Acts(functions=frozenset({Fn.OFFICER}), organisation=kit.link.zone)
        acts = (_centre(kit, STAFF), police)
        yield _alarm("link_not_picked_up", kit, kit.linked_at, due_at, *acts, packages=tuple(sorted(left)))


def _at_centre(kit: Kit, package: Package) -> bool:
    away = package.state in (Custody.IN_TRANSIT, Custody.LOST)
    return not away and package.holder is not None and package.holder.organisation == kit.centre


# --- what stands on no kit --------------------------------------------------------------------------------


def stock_take_due(place: str, centre: str, last: datetime, policy: Policy) -> Alarm:
    """When a place is to be counted again: `last` is its last stock-take, or its opening."""
    return Alarm(
        rule="stock_take_due",
        since=last,
        due_at=due_after(policy, last, policy.deadlines.stock_take.limit),
        acts=(Acts(functions=CUSTODY, organisation=centre),),
        place=place,
    )


def request_unanswered(request: str, centre: str, received_at: datetime) -> Alarm:
    """A request of the police that names this centre and waits for an answer."""
    acts = Acts(functions=frozenset(STAFF), organisation=centre)
    due_at = received_at + ANSWERED_WITHIN
    return Alarm(rule="request_unanswered", since=received_at, due_at=due_at, acts=(acts,), about=request)


def kit_set_aside(kit: str, centre: str, at: datetime, why: str) -> Alarm:
    """A kit that the scheduled check could not move, and `why`: overdue at once, since the clock does nothing
    for it until somebody has put it right."""
    acts = Acts(functions=COORDINATORS, organisation=centre)
    return Alarm(rule="kit_set_aside", since=at, due_at=at, acts=(acts,), kit=kit, why=why)


def not_reviewed(
    rule: str, centre: str, since: datetime, but: str | None, kit: str | None, about: str
) -> Alarm:
    """Broken glass, or an opened duty credential, that no coordinator but who did it has looked into.

    `about` is the digest of the record, or the name of the credential.
    """
    acts = Acts(functions=COORDINATORS, organisation=centre, but=but)
    due_at = since + REVIEWED_WITHIN
    return Alarm(rule=rule, since=since, due_at=due_at, acts=(acts,), kit=kit, about=about)


def log_not_signed(centre: str, since: datetime, why: str) -> Alarm:
    """Nothing is signed: whoever runs the service must be told, by anybody who reads this."""
    acts = Acts(functions=frozenset(STAFF), organisation=centre)
    return Alarm(rule="log_not_signed", since=since, due_at=since, acts=(acts,), why=why)


def policy_unreadable(centre: str, since: datetime, policy: str) -> Alarm:
    """An adopted policy version (``policy``: its name and number) whose document cannot be read."""
    acts = Acts(functions=COORDINATORS, organisation=centre)
    return Alarm(rule="policy_unreadable", since=since, due_at=since, acts=(acts,), about=policy)


RULES: Final = (
    Rule(
        "log_not_signed",
        "Nothing is signed in the log",
        "at once",
        frozenset(STAFF),
        "Tell whoever runs this service; go on working, everything is recorded.",
    ),
    Rule(
        "policy_unreadable",
        "An adopted retention policy that cannot be read",
        "at once",
        COORDINATORS,
        "Tell whoever runs this service: nothing is decided about the terms of kits that keep this policy.",
    ),
    Rule(
        "handover_late",
        "A hand-over that nobody has accepted",
        "its due time",
        RECEIVERS,
        "The receiver accepts or refuses it; the giver asks, or takes the offer back.",
        _handover_late,
    ),
    Rule(
        "not_stored",
        "A package in somebody's hands that lies in no place",
        "as long as the policy gives from sealing to storing",
        frozenset(STAFF),
        "Put it into its place, or hand it over.",
        _not_stored,
    ),
    Rule(
        "seal_not_checked",
        "A seal that only the person who closed it has seen",
        "24 hours",
        frozenset(STAFF),
        "Another person looks at the seal.",
        _seal_not_checked,
    ),
    Rule(
        "notice_came_back",
        "A notice of the end of the term that did not arrive",
        "at once",
        NURSES,
        "Tell the victim another way that was agreed, and record what came of it.",
        _notice_came_back,
    ),
    Rule(
        "notice_not_settled",
        "A notice of the end of the term that nobody has settled",
        "as long as the policy gives for a notice",
        NURSES,
        "Tell the victim as agreed, and record what came of it.",
        _notice_not_settled,
    ),
    Rule(
        "channel_old",
        "A safe channel that was not confirmed lately, with a notice coming",
        "the age that the policy allows, once the notice is near",
        NURSES,
        "Confirm with the victim, when there is an occasion, that the channel is still safe.",
        _channel_old,
    ),
    Rule(
        "wish_not_heard",
        "A victim's wish for destruction that nobody has spoken about",
        "7 days",
        NURSES,
        "Speak with the victim; two of you confirm the wish, or record that it was taken back.",
        _wish_not_heard,
    ),
    Rule(
        "expired_not_reviewed",
        "A term that is over, with no disposal and no reason to keep the kit",
        "as long as the policy gives for it",
        REVIEWERS,
        "Look at the conditions, then propose the disposal or keep the kit for a reason.",
        _expired_not_reviewed,
    ),
    Rule(
        "proposed_not_decided",
        "A disposal that is proposed and not decided",
        "as long as the policy gives for looking at a term that is over",
        COORDINATORS,
        "Approve the disposal, or take it back.",
        _proposed_not_decided,
    ),
    Rule(
        "approved_not_carried_out",
        "A disposal that is approved and not carried out",
        "as long as the policy gives for it",
        CUSTODY,
        "Carry it out before an observer, or take it back.",
        _approved_not_carried_out,
    ),
    Rule(
        "found_after_disposal",
        "A package that was found after its kit was closed",
        "at once",
        REVIEWERS,
        "Have it destroyed before an observer, as the rest of its kit.",
        _found_after_disposal,
    ),
    Rule(
        "hold_not_reviewed",
        "A hold that nobody has looked at again",
        "its day of review, or as long as the policy gives",
        COORDINATORS,
        "Look whether the hold is still needed, then name the next day of review or lift it.",
        _hold_not_reviewed,
    ),
    Rule(
        "report_not_linked",
        "A report that was declared and is not linked",
        "as long as the policy gives for it",
        COORDINATORS,
        "Ask the victim and the police how the report stands.",
        _report_not_linked,
    ),
    Rule(
        "link_not_picked_up",
        "A linked kit that the police have not picked up",
        "as long as the policy gives for it",
        frozenset(STAFF | {Fn.OFFICER}),
        "Arrange the hand-over with the police.",
        _link_not_picked_up,
    ),
    Rule(
        "request_unanswered",
        "A request of the police that nobody has answered",
        "7 days",
        frozenset(STAFF),
        "Look whether a kit matches, and answer; until then nothing of the centre can be disposed of.",
    ),
    Rule(
        "stock_take_due",
        "A place that nobody has counted",
        "as long as the policy gives from one stock-take to the next",
        CUSTODY,
        "Scan everything that lies in it.",
    ),
    Rule(
        "kit_set_aside",
        "A kit that the scheduled check could not move",
        "at once",
        COORDINATORS,
        "Look at what the check says, and tell whoever runs this service.",
    ),
    Rule(
        "glass_not_reviewed",
        "The glass before a restricted kit, broken and not reviewed",
        "one day",
        COORDINATORS,
        "Ask why, then mark the reading as reviewed.",
    ),
    Rule(
        "duty_not_reviewed",
        "The duty credential, opened and not reviewed",
        "one day",
        COORDINATORS,
        "Look into why it was opened, and end it.",
    ),
)
"""Every kind of alarm there is, the most pressing first."""

BY_NAME: Final[Mapping[str, Rule]] = {rule.name: rule for rule in RULES}
