"""What people and the clock decide about telling the victim that the term is ending.

1. The clock says that a notice is due, and says it again at each later notice point of the policy. It never
   says so while a hold for death or incapacity stands: nobody is told then.
2. The service sends by itself only over a channel that the victim confirmed lately (`policy.channel_age`).
   Everything else is work for a person: a call, a letter, a channel that nobody has proved.
3. A notice is *settled* by what really reached the victim, or by an absence that is explained: sent, reached,
   posted, no contact wanted, no channel, not reached on three days, unreachable after attempts on three days.
   What settles it states ``until``: the first instant at which the term may expire, the whole notice period
   after the telling. A message that came back unsettles what the service had settled by sending it; what
   people settled stays.
4. A term whose notice is not settled never expires.

Each decision is a plain function, as in `retention.keeping`. Pure: no database, no clock.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

from custody.channel import told
from custody.choices import NOT_ARRIVED
from custody.commands import AttemptNotice
from custody.decision import Decided
from custody.event import write_moment
from custody.handling import needs_second
from custody.kit import Attempt, Kit
from custody.people import CLOCK, STAFF, Actor, Function
from custody.permission import permit
from custody.prosecution import choice
from custody.protocol import Legal, Retention
from custody.refusal import Refused
from retention.commands import ChangeChannel, ProveChannel, SendNotice
from retention.period import end_of
from retention.policy import Policy
from retention.reckoning import policy_of, term_of
from retention.term import expiry, local_date, next_point, notice_due, over_after

NOBODY_TO_TELL: Final = frozenset({"death", "incapacity"})
"""Grounds of a hold while which no notice is given and no card opens anything."""

BY_SERVICE: Final = frozenset({"email", "sms"})
"""The channels over which the service can send by itself."""

DAYS_NOT_REACHED: Final = 3
"""On so many different days at the centre the victim was not reached: then the notice is settled."""

BY_PEOPLE_ALONE: Final = frozenset({"reached", "posted", "no_channel", "unreachable"})
"""What only people say of an attempt, and what settles the notice by itself."""

NOT_THERE: Final = frozenset({"not_reached", "failed", "bounced"})
"""What an attempt came to that reached nobody and was no passing fault of a mail server."""

TOLD: Final = (Retention.NOTICE_DUE, Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)
"""Where a notice stands, and an attempt can be recorded."""


class NotNow(Refused):
    """The clock has nothing to do with this kit now: it moved on, or waits for something. No fault."""


# --- where a notice stands ------------------------------------------------------------------------


def nobody_to_tell(kit: Kit) -> bool:
    """Whether a hold for death or incapacity stands."""
    return any(hold.ground in NOBODY_TO_TELL for hold in kit.holds.values())


def settled(kit: Kit) -> bool:
    """Whether the victim was told of the end of this term, or an absence explains why not."""
    return kit.expires_at is not None


def settled_by_people(kit: Kit, policy: Policy) -> bool:
    """Whether somebody of the staff settled this notice: no message that comes back changes that."""
    if any(each.how in BY_PEOPLE_ALONE or _wanted_no_more(each, policy) for each in kit.attempts):
        return True
    return len(_days_tried(kit, policy, {"not_reached"})) >= DAYS_NOT_REACHED


def _wanted_no_more(attempt: Attempt, policy: Policy) -> bool:
    """Whether the victim wants no contact, or the policy has none. Of a message that was not needed any more
    the service says ``not_wanted`` too, and that it went over a channel."""
    return attempt.how == "not_wanted" and (attempt.channel in (None, "none") or not policy.contact.answer)


def _days_tried(kit: Kit, policy: Policy, hows: Container[str]) -> set[date]:
    """The local days on which an attempt of this notice came to one of these."""
    return {local_date(policy, each.at) for each in kit.attempts if each.how in hows}


def expires_at(kit: Kit, policy: Policy) -> datetime | None:
    """When (UTC) the clock may put the kit on the list of expired terms; None while nobody was told.

    As the attempt that settled the notice stated it, and never before the term is over.
    """
    if kit.expires_at is None:
        return None
    return max(term_of(kit).over_at, kit.expires_at)


def proved_lately(kit: Kit, policy: Policy, at: datetime) -> bool:
    """Whether the victim confirmed the safe channel not longer ago than the policy's ``channel_age``."""
    if kit.channel_proved_at is None:
        return False
    last = end_of(local_date(policy, kit.channel_proved_at), policy.channel_age.period)
    return at < over_after(policy, last)


def why_not_sent(kit: Kit, policy: Policy, at: datetime) -> str | None:
    """Why the service does not send this notice by itself: ``no_contact``, ``by_hand`` (a call or a letter),
    ``never_proved`` or ``proved_long_ago``; None where it does."""
    if kit.channel == "none" or not policy.contact.answer:
        return "no_contact"
    if kit.channel not in BY_SERVICE:
        return "by_hand"
    if kit.channel_proved_at is None:
        return "never_proved"
    return None if proved_lately(kit, policy, at) else "proved_long_ago"


# --- the clock ------------------------------------------------------------------------------------


def fall_due(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The day of notice has come: the victim is to be told. Raises NotNow.

    Where the victim wants no contact, or the policy has nobody contacted, that is honoured and recorded.
    """
    if kit.retention is not Retention.RUNNING or kit.legal is not Legal.UNREPORTED:
        raise NotNow("The term does not run.")
    _somebody_to_tell(kit)
    policy = policy_of(kit, policies)
    if not notice_due(term_of(kit), policy, at):
        raise NotNow("The day of notice has not come.")
    return _due(kit, "notice.due", policy, at)


def repeat(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """A later notice point of the policy has come: the victim is to be told once more. Raises NotNow."""
    if kit.retention is not Retention.NOTICE_DUE or kit.legal is not Legal.UNREPORTED:
        raise NotNow("No notice stands.")
    _somebody_to_tell(kit)
    policy = policy_of(kit, policies)
    if kit.remind_on is None or local_date(policy, at) < kit.remind_on:
        raise NotNow("The next day of notice has not come.")
    return _due(kit, "notice.repeated", policy, at)


def _due(kit: Kit, type_: str, policy: Policy, at: datetime) -> Decided:
    fields: dict[str, Any] = {}
    later = next_point(term_of(kit), policy, local_date(policy, at))
    if later is not None:
        fields["remind_on"] = later.isoformat()
    why = why_not_sent(kit, policy, at)
    if why is None:
        fields["channel"] = kit.channel
    facts = [choice(kit, type_, CLOCK, **fields)]
    if why == "no_contact" and (type_ == "notice.due" or not settled(kit)):
        until = write_moment(expiry(term_of(kit), policy, at))
        over = kit.channel or "none"
        facts.append(choice(kit, "notice.attempted", CLOCK, how="not_wanted", channel=over, until=until))
    return Decided(facts=tuple(facts))


def _somebody_to_tell(kit: Kit) -> None:
    if nobody_to_tell(kit):
        raise NotNow("A hold for death or incapacity stands: no notice is given.")


def expire(kit: Kit, policies: Iterable[Policy], at: datetime) -> Decided:
    """The term is over and the victim had the whole notice period: people have work to do. Raises NotNow."""
    if kit.retention is not Retention.NOTICE_DUE or kit.legal is not Legal.UNREPORTED:
        raise NotNow("No notice stands.")
    if kit.holds:
        raise NotNow("The kit is held.")
    over = expires_at(kit, policy_of(kit, policies))
    if over is None:
        raise NotNow("Nobody has told the victim yet.")
    if at < over:
        raise NotNow("The term, or the notice period, is not over.")
    return Decided(facts=(choice(kit, "term.expired", CLOCK),))


def answered(
    kit: Kit,
    how: str,
    cites: Sequence[str],
    policies: Iterable[Policy],
    at: datetime,
    channel: str | None = None,
) -> Decided:
    """What came of a message that the service was to send: ``sent``, ``tried``, ``failed``, ``bounced``; or
    ``not_wanted``, where it was not needed any more, which settles nothing.

    ``cites`` is the digest of the event that asked for the message; ``channel`` the one it went over. Once
    people settled the notice, a message that could not be sent was not needed any more, and one that came
    back says nothing new. Raises NotNow then, and where no notice stands any more: the term was extended or
    the kit reported meanwhile.
    """
    if kit.retention not in TOLD:
        raise NotNow("No notice stands.")
    if how in NOT_ARRIVED and settled(kit) and settled_by_people(kit, policy_of(kit, policies)):
        if how == "bounced":
            raise NotNow("The staff settled this notice: what came back changes nothing.")
        how = "not_wanted"
    fields: dict[str, Any] = {"how": how, "cites": list(cites)}
    if over := channel or kit.channel:
        fields["channel"] = over
    if how == "sent" and not settled(kit):
        fields["until"] = write_moment(expiry(term_of(kit), policy_of(kit, policies), at))
    return Decided(facts=(choice(kit, "notice.attempted", CLOCK, **fields),))


# --- people ---------------------------------------------------------------------------------------


def attempt(
    kit: Kit, order: AttemptNotice, actor: Actor, policies: Iterable[Policy], at: datetime
) -> Decided:
    """Record that the victim was told of the end of the term over the safe channel, or was not reached."""
    permit("notice.attempt", actor, kit)
    if nobody_to_tell(kit):
        raise Refused("A hold for death or incapacity stands: no notice is given.")
    policy = policy_of(kit, policies)
    settles = _settles(kit, order.how, policy, at)
    fields: dict[str, Any] = {"how": order.how}
    if kit.channel is not None:
        fields["channel"] = kit.channel
    # Where so far the service's message alone says that the victim was told, the telling by people counts.
    tells = order.how in ("reached", "posted") and kit.retention is Retention.NOTICE_DUE
    if settles and (not settled(kit) or (tells and not settled_by_people(kit, policy))):
        fields["until"] = write_moment(expiry(term_of(kit), policy, at))
    return Decided(facts=(choice(kit, "notice.attempted", actor, **fields),))


def _settles(kit: Kit, how: str, policy: Policy, at: datetime) -> bool:
    """Whether this attempt settles the notice. Raises Refused where it cannot have been so."""
    agreed = kit.channel not in (None, "none") and policy.contact.answer
    match how:
        case "reached":
            return True
        case "posted":
            if kit.channel != "post":
                raise Refused("A letter goes out only where post is the agreed channel.", field="how")
            return True
        case "not_wanted" | "no_channel":
            if agreed:
                raise Refused(
                    "A safe channel was agreed: try it and record what came of it. If the victim wants"
                    " another one, or none, change the channel first.",
                    field="how",
                )
            return True
        case "unreachable":
            days = len(_days_tried(kit, policy, NOT_THERE))
            if days < DAYS_NOT_REACHED:
                raise Refused(
                    "The victim counts as unreachable after attempts on {needed} different days that reached"
                    " nobody; {tried} are on record. Try again on another day, and record it.",
                    field="how",
                    needed=str(DAYS_NOT_REACHED),
                    tried=str(days),
                )
            return True
        case _:
            on = _days_tried(kit, policy, {"not_reached"}) | {local_date(policy, at)}
            return len(on) >= DAYS_NOT_REACHED


def may_write(kit: Kit) -> None:
    """Whether anything may go to the victim over the safe channel now. Raises Refused, saying why not."""
    if nobody_to_tell(kit):
        raise Refused(
            "A hold for death or incapacity stands: no notice is given, and nothing is sent or confirmed over"
            " the safe channel. If the hold was placed in error, two people lift it."
        )
    if kit.legal is not Legal.UNREPORTED or kit.retention is Retention.DISPOSED:
        raise Refused(
            "The kit was reported, or is closed: no notice will be given, so nothing is sent over the safe"
            " channel. The victim's page and the staff of the centre answer questions."
        )


def send(kit: Kit, order: SendNotice, actor: Actor) -> Decided:
    """A person has the service send the notice: again, or although the channel was proved long ago."""
    permit("notice.send", actor, kit)
    may_write(kit)
    if kit.channel not in BY_SERVICE:
        raise Refused("The service can send by e-mail and text message alone. This is for a person to do.")
    return Decided(facts=(choice(kit, "notice.queued", actor, channel=kit.channel),))


def prove_channel(kit: Kit, order: ProveChannel, actor: Actor) -> Decided:
    """The safe channel was tried and the victim confirmed it; with the card alone, only as ``by_card``."""
    permit("channel.prove", actor, kit)
    may_write(kit)
    if kit.channel in (None, "none"):
        raise Refused("No safe channel was agreed: there is none to prove.")
    if (order.how == "by_card") != (actor.function is Function.VICTIM):
        raise Refused("The victim confirms with the card; staff say how they saw it.", field="how")
    if order.how == "message_shown" and kit.channel not in BY_SERVICE:
        raise Refused("A message is shown where the channel is e-mail or text message.", field="how")
    proved = choice(kit, "channel.proved", actor, channel=kit.channel, how=order.how)
    return Decided(facts=(proved,))


def change_channel(kit: Kit, order: ChangeChannel, actor: Actor, second: Actor | None) -> Decided:
    """Another safe channel, or none: two staff, in person or over the previous channel."""
    permit("channel.change", actor, kit)
    if order.how == "over_previous_channel" and kit.channel in (None, "none"):
        raise Refused("There is no previous channel: the victim confirms a new one in person.", field="how")
    stated = told(order.channel, order.channel_address, order.channel_hours, order.channel_question)
    needs_second(actor, second)
    if second is None or second.function not in STAFF or second.organisation != kit.centre:
        raise Refused("The second signature must be that of another person of the centre.")
    fields = {"channel": order.channel, "language": order.language, "how": order.how}
    changed = choice(kit, "channel.changed", actor, **fields, **{"with": [second.signs("second")]})
    return Decided(facts=(replace(changed, private=stated or None),))
