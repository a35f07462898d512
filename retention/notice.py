"""What people and the clock decide about telling the victim that the term ends.

Pure: no database, no clock.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from custody.commands import AttemptNotice
from custody.decision import Decided
from custody.kit import Kit
from custody.people import CLOCK, Actor
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from retention.period import end_of
from retention.policy import Policy
from retention.reckoning import policy_of, term_of
from retention.term import local_date, notice_due, over_after

NOBODY_TO_TELL: Final = frozenset({"death", "incapacity"})


class NotNow(Refused):
    """The clock has nothing to do with this kit now: it moved on, or waits for something. No fault."""


def expires_at(kit: Kit, policy: Policy) -> datetime | None:
    """When (UTC) the clock may put the kit on the list of expired terms; None before its notice fell due.

    The later of the end of the term and the end of the notice period, counted from the day on which the
    notice really fell due: an outage of this service never costs the victim a day.
    """
    if kit.notice_due_at is None:
        return None
    told_until = end_of(local_date(policy, kit.notice_due_at), policy.notice.period)
    return max(term_of(kit).over_at, over_after(policy, told_until))


def fall_due(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The day of notice has come: the victim is to be told. Raises NotNow."""
    if kit.retention is not Retention.RUNNING or kit.legal is not Legal.UNREPORTED:
        raise NotNow("The term does not run.")
    if _nobody_to_tell(kit):
        raise NotNow("A hold for death or incapacity stands: no notice is given.")
    if not notice_due(term_of(kit), policy_of(kit, policies), at):
        raise NotNow("The day of notice has not come.")
    return Decided(facts=(choice(kit, "notice.due", CLOCK),))


def expire(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The term is over and the victim had the whole notice period: people have work to do. Raises NotNow."""
    if kit.retention is not Retention.NOTICE_DUE or kit.legal is not Legal.UNREPORTED:
        raise NotNow("No notice stands.")
    if kit.holds:
        raise NotNow("The kit is held.")
    over = expires_at(kit, policy_of(kit, policies))
    if over is None or at < over:
        raise NotNow("The term, or the notice period, is not over.")
    return Decided(facts=(choice(kit, "term.expired", CLOCK),))


def attempt_notice(kit: Kit, order: AttemptNotice, actor: Actor) -> Decided:
    """Record that the victim was told of the end of the term over the safe channel, or was not reached."""
    permit("notice.attempt", actor, kit)
    if _nobody_to_tell(kit):
        raise Refused("A hold for death or incapacity stands: no notice is given.")
    return Decided(facts=(choice(kit, "notice.attempted", actor, how=order.how),))


def _nobody_to_tell(kit: Kit) -> bool:
    return any(hold.ground in NOBODY_TO_TELL for hold in kit.holds.values())
