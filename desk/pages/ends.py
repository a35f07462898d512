"""Until when a kit is kept, as people are told: by the last day that counts, never by the instant after it.

Everywhere it is one and the same day: the end of the term and of the time after it, which is named beside it
where there is one. What a late notice leaves, and what a cooling-off brings forward, is said as it is.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from fastapi import Request

from custody.kit import ENDED_NOT_DISPOSED, Kit
from custody.protocol import Retention
from custody.refusal import Refused
from desk import edge, texts
from desk.pages.page import day, language, translated
from retention.deciding import of_age
from retention.holds import review_on
from retention.notice import settled
from retention.period import RetentionDataError
from retention.period import end_of as end_of_period
from retention.policy import AgeClass, Policy
from retention.reckoning import policy_of, standing_term, term_of
from retention.term import (
    agreed_end,
    cooling_off_until,
    corrected,
    extended,
    last_day_of_grace,
    local_date,
)

VICTIM: Final[Mapping[str, str]] = {
    "on": texts._("Kept for you until {day}."),
    "on_after": texts._(
        "Kept for you until {day}: the agreed time ends on {end}, and the time after it on {day}."
    ),
    "cooling": texts._("Kept for you to the end of {day}, as you asked."),
    "not_before": texts._(
        "Kept for you at least to the end of {day}, and until we have told you and the notice period is over."
    ),
    "untold": texts._("Kept for you until we have told you and the notice period is over."),
    "over": texts._(
        "The agreed time is over. It is still kept for now, and you may still ask for more time."
    ),
}
STAFF: Final[Mapping[str, str]] = {
    "on": texts._("kept until {day}"),
    "on_after": texts._("kept until {day}: the term ends on {end}, and the time after it on {day}"),
    "cooling": texts._("kept to the end of {day}, as the victim asked"),
    "not_before": texts._(
        "not before {day}, and not before the victim was told and the notice period is over"
    ),
    "untold": texts._("not before the victim was told and the notice period is over"),
    "over": texts._("kept until {day}; that day has passed"),
    "over_after": texts._("its term ended on {end}, and the time after it on {day}"),
}
MOVED: Final = texts._(
    "By the months alone it would end on {plain}. That is a weekend or a holiday: the term ends on the next"
    " working day."
)


def last_day(until: datetime) -> date:
    """The last day at the centre that lies whole before ``until``, an end that is not included itself."""
    return (until - timedelta(microseconds=1)).astimezone(edge.CALENDAR).date()


def end_of(kit: Kit, at: datetime, policies: Collection[Policy]) -> tuple[str, date | None]:
    """How the end stands (a word of :data:`STAFF`) and the day that belongs to it, the grace of the kit's
    policy counted; ``("", None)`` without a term."""
    if kit.term is None:
        return "", None
    policy = _known(kit, policies)
    grace = last_day_of_grace(kit.term, policy) if policy and not kit.ended_by_wish else kit.term.end
    asked = kit.destruction.until if kit.destruction else None
    if asked is not None and at < asked:
        return "cooling", last_day(asked)
    if settled(kit) and kit.expires_at is not None:
        end = max(kit.term.end, last_day(kit.expires_at))
        open_ = kit.retention in (Retention.RUNNING, Retention.NOTICE_DUE)
        return ("on" if open_ and at < max(kit.term.over_at, kit.expires_at) else "over"), end
    if kit.retention is Retention.RUNNING and at < kit.term.over_at:
        return "on", grace
    return ("not_before", grace) if at < kit.term.over_at else ("untold", None)


def _known(kit: Kit, policies: Iterable[Policy]) -> Policy | None:
    """The policy that the kit keeps, where it is known here."""
    try:
        return policy_of(kit, policies)
    except Refused:
        return None


def told(
    request: Request, kit: Kit, at: datetime, policies: Collection[Policy], words: Mapping[str, str]
) -> str:
    """The end in one sentence of ``words``; empty for a kit without a term."""
    how, on = end_of(kit, at, policies)
    after = on is not None and kit.term is not None and on > kit.term.end
    says = words.get(f"{how}_after", words.get(how, "")) if after else words.get(how, "")
    if not says:
        return ""
    lang = language(request)
    end = day(kit.term.end, lang) if kit.term else ""
    return translated(request, says).format(day=day(on, lang) if on else "", end=end)


def ended(request: Request, kit: Kit, at: datetime, policies: Collection[Policy]) -> str:
    """That the term is over, and since when, as the kit's page says it; of a term that was brought forward
    its last day alone."""
    if end_of(kit, at, policies)[0] == "over":
        return told(request, kit, at, policies, STAFF)
    on = day(kit.term.end, language(request)) if kit.term else "–"
    return translated(request, texts._("its term ended on {day}")).format(day=on)


def moved(request: Request, kit: Kit, policies: Collection[Policy]) -> str:
    """Why the agreed end is no earlier, where the policy moved it past a weekend or a holiday."""
    policy = _known(kit, policies)
    if policy is None or kit.term is None or kit.ended_by_wish:
        return ""
    age_class = AgeClass(kit.age_class)
    plain = end_of_period(kit.term.start, policy.kept(age_class))
    if plain == kit.term.end or kit.term.end != agreed_end(policy, age_class, kit.term.start):
        return ""
    return translated(request, MOVED).format(plain=day(plain, language(request)))


EXTENDED: Final = texts._("Asked for today, it is then kept to the end of {day}.")
COOLING: Final = texts._(
    "Once two of you have confirmed it, a cooling-off begins: confirmed today, it runs for {count} days, to"
    " the end of {day}. The wish can be taken back until the disposal."
)
CONFIRMED: Final = texts._(
    "If the second person signs today, the cooling-off runs for {count} days, to the end of {day}. The wish"
    " can be taken back until the disposal."
)
OF_AGE_FIRST: Final = texts._(
    "The wish goes on record. It can be confirmed only once the victim is known to be of age: two of you"
    " record that then. Until it is confirmed, nothing is destroyed before the end of the term."
)
REVIEW: Final = texts._("It is looked at again on {day} at the latest; without a day, on that one.")


def ahead(request: Request, action: str, kit: Kit, policies: Iterable[Policy], at: datetime) -> str:
    """What a step would bring if it were taken today, in one sentence; empty where there is nothing to say,
    or where the rules would refuse it: the refusal says why."""
    try:
        if action == "hold.place":
            on, says = review_on(kit, None, policies, at), REVIEW
        elif action == "term.extend":
            policy = policy_of(kit, policies)
            past = kit.retention in ENDED_NOT_DISPOSED and not kit.ended_by_wish
            today, stands = local_date(policy, at), standing_term(kit, policy, at)
            on = extended(stands, policy, today, times=kit.extensions, expired=past).end
            says = EXTENDED
        elif action == "destruction.ask" and not of_age(kit):
            return translated(request, OF_AGE_FIRST)
        elif action in ("destruction.ask", "destruction.confirm"):
            on = last_day(cooling_off_until(policy_of(kit, policies), at))
            says = COOLING if action == "destruction.ask" else CONFIRMED
        else:
            return ""
    except (Refused, RetentionDataError):
        return ""
    count = (on - at.astimezone(edge.CALENDAR).date()).days
    return translated(request, says).format(day=day(on, language(request)), count=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a correction of the age class would bring: the class and the last day kept, before and after."""

    was: str
    now: str
    before: date
    after: date


def corrections(
    kit: Kit, policies: Collection[Policy], at: datetime, now: str | None = None
) -> list[Correction]:
    """What each other age class would bring if it were signed at ``at``; only the class ``now`` where it is
    chosen already. Empty where the rules would refuse it: the refusal says why."""
    if kit.term is None or kit.age_class is None:
        return []
    before = end_of(kit, at, policies)[1] or kit.term.end
    was, found = AgeClass(kit.age_class), []
    try:
        policy, stands = policy_of(kit, policies), kit.term_before_wish or term_of(kit)
        for each in AgeClass:
            if each is not was and now in (None, each.value):
                after = corrected(stands, policy, was=was, now=each, at=at, extensions=kit.extensions)
                last = last_day_of_grace(after, policy)
                found.append(Correction(was=was.value, now=each.value, before=before, after=last))
    except (Refused, RetentionDataError):
        return []
    return found
