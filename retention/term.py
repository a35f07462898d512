"""The term: until when a kit is kept before a report, reckoned in the calendar of the centre.

How it is reckoned (the counting of periods itself is in `retention.period`, with its source; worked examples
for lawyers are in docs/retention.md):

1. The term starts on the *local* day of the examination. An examination at 23:30 UTC on 30 June took place
   on 1 July in Brussels.
2. `end` is the last day of the term and belongs to it whole. The term is over at `over_at`, the first instant
   of the next local day, whatever the clocks did that night: where they go forward at midnight the day begins
   at one o'clock, where midnight comes twice the first one counts, and where a whole day is left out (Samoa,
   30 December 2011) the day after it begins.
3. Where the policy has a calendar of holidays, an end that falls on a holiday or on the weekend moves to the
   next working day, as Regulation (EEC, Euratom) No 1182/71, article 3(4), has it; where it has none, an end
   stays where it is. That goes for every period of which the victim has the last day: the term, an extension,
   the grace, what a notice leaves, the cooling-off, the time for contesting. An end only ever moves later.
4. `notice_on` is the last day on which a notice still leaves the whole notice period. It is counted backwards
   from the end, and a period counted backwards moves for no holiday (article 3(4), second sentence). The same
   goes for every later notice point.
5. Nothing makes a term shorter but the victim's own confirmed wish and a corrected age class; that both take
   two people is a rule of the decision, not of the calendar. An extension never shortens; a withdrawn report
   leaves at least the notice period; a correction that shortens gives a fresh notice period from its day.
6. A term expires once the grace after its end is over, and never before the whole notice period has passed
   since the victim was told (`expiry`): a notice that went out late moves the expiry, not the notice period.
7. The end of a term destroys nothing. It makes work for people.

An instant in the far future is reckoned by the summer-time rules known today; should a law change them,
`over_at` may lie an hour off, while the days stay right.

Every instant is an aware datetime; a naive one is refused. Pure: the time always comes as an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from retention.period import Limit, Period, RetentionDataError, end_of, latest_start
from retention.policy import AgeClass, CountedFrom, ExtensionUntil, Policy
from retention.protection import less_protected

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_FARTHEST_ZONE: Final = timedelta(hours=15)
"""No zone is farther from UTC than 14 hours; a local midnight lies within this of the UTC one."""


class AnyTerm(Protocol):
    """A term as the functions here read it: this module's `Term`, or the one in a kit's projection."""

    @property
    def start(self) -> date: ...
    @property
    def end(self) -> date: ...
    @property
    def notice_on(self) -> date: ...
    @property
    def over_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One agreed term. `start`, `end`, `notice_on` are local days at the centre; `over_at` is in UTC.

    Raises RetentionDataError unless start <= notice_on <= end and `over_at` is, in UTC, an instant that can
    be the first of the day after `end` somewhere on earth.
    """

    start: date
    end: date
    notice_on: date
    over_at: datetime

    def __post_init__(self) -> None:
        if not self.start <= self.notice_on <= self.end:
            raise RetentionDataError(
                f"a term from {self.start} to {self.end} cannot have its notice on {self.notice_on}"
            )
        _only_aware(self.over_at)
        if self.over_at.utcoffset() != timedelta(0):
            raise RetentionDataError("the instant at which a term is over has to be given in UTC")
        midnight = datetime.combine(_day_after(self.end), time(0), UTC)
        if abs(self.over_at - midnight) > _FARTHEST_ZONE:
            raise RetentionDataError(f"a term that ends on {self.end} cannot be over at {self.over_at}")

    def plain(self) -> dict[str, str]:
        """The term as it stands inside an event's bytes; `from_plain` reads it back.

        >>> Term(start=date(2026, 1, 15), end=date(2026, 7, 15), notice_on=date(2026, 5, 16),
        ...      over_at=datetime(2026, 7, 15, 22, tzinfo=UTC)).plain()["over_at"]
        '2026-07-15T22:00:00.000000Z'
        """
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "notice_on": self.notice_on.isoformat(),
            "over_at": self.over_at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Term:
        """Read what `plain` wrote: exactly the four keys, ISO 8601 dates, RFC 3339 with microseconds and Z.

        Raises RetentionDataError for anything else.
        """
        if plain.keys() != {"start", "end", "notice_on", "over_at"}:
            raise RetentionDataError(f"a term has start, end, notice_on and over_at, not {sorted(plain)}")
        return cls(
            start=_read(plain["start"], _DATE).date(),
            end=_read(plain["end"], _DATE).date(),
            notice_on=_read(plain["notice_on"], _DATE).date(),
            over_at=_read(plain["over_at"], _INSTANT).replace(tzinfo=UTC),
        )


def agreed_term(policy: Policy, age_class: AgeClass, examined_at: datetime) -> Term:
    """The term that an examination at `examined_at` starts under `policy`.

    With six months, 60 days' notice and Brussels time: examined on 15 January 2026, kept to the end of
    15 July 2026, notice on 16 May, over at 22:00 UTC on 15 July (midnight in summer time). Examined on
    31 August 2026: kept to the end of 28 February 2027.
    """
    start = local_date(policy, examined_at)
    return _term(policy, start, agreed_end(policy, age_class, start))


def agreed_end(policy: Policy, age_class: AgeClass, start: date) -> date:
    """The last day of the term that starts on the local day `start`, before anything changes it."""
    return moved_on(policy, end_of(start, policy.kept(age_class)))


def moved_on(policy: Policy, end: date) -> date:
    """The day to which an end on `end` moves: the next working day where the policy has a calendar.

    With the Belgian holidays a term that ends on Saturday 27 March 2027 is kept to the end of Tuesday
    30 March, since the Monday between is Easter Monday. Without a calendar it stays where it is.
    """
    return end if policy.holidays is None else policy.holidays.working_day(end)


def extended(
    term: AnyTerm, policy: Policy, asked_on: date, times: int = 0, *, expired: bool | None = None
) -> Term:
    """The term after the victim asked, on the local day `asked_on`, for it to be extended.

    Counted as the policy says: from the end of the term, or from the day of asking; never shorter than
    before. A term that ended on 28 February and is extended by six months ends on 28 August, even where it
    had started on a 31 August: an extension is a period of its own. Where the policy knows a longest term,
    the extension ends with it.

    `times` counts the extensions so far. `expired` says whether the term has expired, for a policy under
    which that is the last moment to ask; where the caller does not say, the term counts as expired once its
    last day and the grace are past.

    Raises RetentionDataError, in plain words, if the policy does not let the term be extended (again, at all,
    so late, or beyond its longest), or if `asked_on` lies before the start of the term.
    """
    _not_before_start(term, asked_on)
    most = policy.extension_times
    if most is not None and times >= most:
        how_often = "does not foresee an extension" if most == 0 else f"foresees {_count(most)}, not more"
        raise RetentionDataError(f"the policy {policy.reference} {how_often}")
    if policy.extension_until is ExtensionUntil.END:
        late = asked_on > last_day_of_grace(term, policy) if expired is None else expired
        if late:
            raise RetentionDataError(
                f"under the policy {policy.reference} an extension is asked for before the term expires"
            )
    counted_from = asked_on
    if policy.extension_counted_from is CountedFrom.END:
        counted_from = max(term.end, asked_on)
    end = moved_on(policy, end_of(counted_from, policy.extension.period))
    if policy.longest is not None:
        last = moved_on(policy, end_of(term.start, policy.longest.period))
        if last <= max(term.end, asked_on):
            raise RetentionDataError(
                f"the policy {policy.reference} keeps a kit for at most {policy.longest.period}, and that is "
                f"over with the end of {last}"
            )
        end = min(end, last)
    return _term(policy, term.start, max(term.end, end))


def after_withdrawal(term: AnyTerm, policy: Policy, at: datetime) -> Term:
    """The term that runs again after a declared report was withdrawn at `at`.

    `term` is the one that the report stopped. It keeps its end where at least the notice period is left
    after the day of withdrawal; otherwise it ends when that period does. The days between report and
    withdrawal are not added: a term that still has years to go does not change.

    Raises RetentionDataError if `at` lies before the start of the term.
    """
    today = local_date(policy, at)
    _not_before_start(term, today)
    return _term(policy, term.start, max(term.end, _told_until(policy, today)))


def corrected(
    term: AnyTerm, policy: Policy, *, was: AgeClass, now: AgeClass, at: datetime, extensions: int
) -> Term:
    """The term after the age class, recorded as `was`, was corrected at `at` to `now`.

    `policy` is the one under which the term was agreed. What the victim's `extensions` had added beyond the
    agreed end stays added, day for day; what a fresh notice period or a late registration had added is not
    theirs and goes, so that a correction that was wrong itself can be corrected back. A correction to a class
    that is kept longer never ends the term earlier. One that shortens leaves at least a fresh notice period
    from the day of the correction: a minor examined in 2024 and found in 2026 to have been adult keeps the
    kit for 60 days more, though six months are long over.

    The caller compares `end` before and after: a shorter one takes two people.

    Raises RetentionDataError if both classes are the same, or `at` lies before the start of the term.
    """
    if was is now:
        raise RetentionDataError(f"the age class is {now} already: there is nothing to correct")
    today = local_date(policy, at)
    _not_before_start(term, today)
    end = _with_what_was_added(term, policy, was, policy, now, extensions)
    if agreed_end(policy, now, term.start) >= agreed_end(policy, was, term.start):
        end = max(end, term.end)
    if end < term.end:
        end = max(end, _told_until(policy, today))
    return _term(policy, term.start, end)


def moved_to(term: AnyTerm, policy: Policy, new: Policy, *, age_class: AgeClass, extensions: int) -> Term:
    """The term once the kit, of a victim of this age class, goes from `policy` to the version `new` of it.

    Reckoned from the day of the examination under `new`; what the victim's `extensions` had added beyond the
    agreed end stays added, day for day; never shorter than before.

    Raises RetentionDataError where `new` is no later version of the same policy; where it could protect less
    in anything (`retention.protection`), also for another age class, since a class can be corrected; where
    the new term would not be longer; and where the term had been brought forward by the victim's own wish,
    which a longer policy does not undo.
    """
    if new.id != policy.id or new.version <= policy.version:
        raise RetentionDataError(f"{new.reference} is no later version of {policy.reference}")
    if new.time_zone != policy.time_zone:
        raise RetentionDataError(f"{new.reference} counts in another time zone than {policy.reference}")
    if term.end < agreed_end(policy, age_class, term.start):
        raise RetentionDataError("the victim had the end brought forward: the term stays as it is")
    if less := next(less_protected(new, policy), None):
        raise RetentionDataError(
            f"{new.reference} could protect less than {policy.reference} ({less}): a kit moves only where "
            "nothing that protects gets less"
        )
    end = _with_what_was_added(term, policy, age_class, new, age_class, extensions)
    if end <= term.end:
        raise RetentionDataError(
            f"under {new.reference} the term would end on {end}, which is not later than {term.end}: a kit "
            "moves only where that keeps it longer"
        )
    return _term(new, term.start, end)


def brought_forward(term: AnyTerm, policy: Policy, confirmed_at: datetime) -> Term:
    """The term once the cooling-off of an early destruction, confirmed at `confirmed_at`, is over.

    It ends on the last day of the cooling-off, or where it would have ended anyway if that comes first
    (Scotland: SSI 2022/89). A notice not yet due is not owed any more: the victim asked.

    Raises RetentionDataError if `confirmed_at` lies before the start of the term.
    """
    _not_before_start(term, local_date(policy, confirmed_at))
    return brought_forward_to(term, policy, cooling_off_until(policy, confirmed_at))


def brought_forward_to(term: AnyTerm, policy: Policy, until: datetime) -> Term:
    """The same, from the end of the cooling-off as it was promised: `until` (not included) is the instant
    that `cooling_off_until` gave when the wish was confirmed.

    Raises RetentionDataError if `until` lies before the start of the term.
    """
    last_day = local_date(policy, until - timedelta(microseconds=1))
    _not_before_start(term, last_day)
    end = min(term.end, last_day)
    notice_on = min(term.notice_on, end)
    return Term(start=term.start, end=end, notice_on=notice_on, over_at=over_after(policy, end))


def last_day_of_grace(term: AnyTerm, policy: Policy) -> date:
    """The last day, counted whole, of the grace after the end of the term; without a grace, the end.

    A term that ends on 15 July with two weeks of grace: 29 July.
    """
    return term.end if policy.grace is None else moved_on(policy, end_of(term.end, policy.grace.period))


def expiry(term: AnyTerm, policy: Policy, told_at: datetime) -> datetime:
    """The first instant (UTC) at which the term may expire, if the victim was told of its end at `told_at`.

    Not before the grace after the end is over, nor before the notice period, counted from the local day of
    the telling, is. Told on 16 May of an end on 15 July, with 60 days' notice and no grace: midnight after
    15 July. Told three weeks late, on 6 June: midnight after 5 August.

    Raises RetentionDataError if `told_at` names no time zone.
    """
    told_until = _told_until(policy, local_date(policy, told_at))
    return over_after(policy, max(last_day_of_grace(term, policy), told_until))


def next_point(term: AnyTerm, policy: Policy, after: date) -> date | None:
    """The first notice point of the term that lies after the local day `after`; None where there is none.

    With notices 60 and 14 days before an end on 15 July: 16 May before that day, then 1 July, then none. A
    point before the term's own day of notice is none: after a correction that shortened, the fresh notice
    comes first.
    """
    points = {latest_start(term.end, each.period) for each in policy.reminders}
    points = {term.notice_on, *(point for point in points if point > term.notice_on)}
    return min((point for point in points if point > after), default=None)


def notice_due(term: AnyTerm, policy: Policy, at: datetime) -> bool:
    """Whether, at the centre, the day of notice has come; stays true afterwards, also past the end."""
    return local_date(policy, at) >= term.notice_on


def is_over(term: AnyTerm, at: datetime) -> bool:
    """Whether the last day of the term is past. The instant `over_at` itself is past the term."""
    _only_aware(at)
    return at >= term.over_at


def cooling_off_until(policy: Policy, confirmed_at: datetime) -> datetime:
    """Until when (UTC, not included) a confirmed wish for early destruction can still be taken back freely.

    The day of confirmation is not counted: confirmed on 1 March with 30 days, it ends with the last hour of
    31 March.
    """
    return over_after(policy, _end_from(policy, confirmed_at, policy.cooling_off.period))


def contest_over_at(policy: Policy, disposed_at: datetime) -> datetime:
    """When (UTC) the time for contesting a disposal is over, and the kit's data key is to be destroyed."""
    return over_after(policy, _end_from(policy, disposed_at, policy.contest.period))


def unlinked_work_at(policy: Policy, declared_at: datetime) -> datetime:
    """When (UTC) a report declared at `declared_at` and still not linked becomes work for a person.

    Work is not put off by a holiday: this end does not move.
    """
    return over_after(policy, end_of(local_date(policy, declared_at), policy.unlinked.period))


def due_by(policy: Policy, since: datetime, limit: Limit) -> datetime:
    """When (UTC) work that began at `since` is overdue, by a limit of the policy's `deadlines`.

    Hours run on the clock: 24 hours from noon on the day before the clocks go forward end at one o'clock
    local time. Days, months and years end with the last hour of their last day at the centre. Neither moves
    for a holiday.

    Raises RetentionDataError if `since` names no time zone.
    """
    _only_aware(since)
    if limit.period is not None:
        return over_after(policy, end_of(local_date(policy, since), limit.period))
    try:
        return since.astimezone(UTC) + timedelta(hours=limit.hours or 0)
    except OverflowError as beyond:
        raise RetentionDataError(f"{limit} from {since} lies outside the calendar") from beyond


def local_date(policy: Policy, at: datetime) -> date:
    """The day on the calendar of the centre at the instant `at`; a naive `at` raises RetentionDataError."""
    _only_aware(at)
    try:
        return at.astimezone(policy.zone).date()
    except OverflowError as beyond:
        raise RetentionDataError(f"{at} lies outside the calendar") from beyond


def over_after(policy: Policy, end: date) -> datetime:
    """The first instant (UTC) of the local day after `end`.

    Where the clocks go forward at midnight, the day begins at one o'clock local time; where midnight comes
    twice, the first one counts.
    """
    midnight = datetime.combine(_day_after(end), time(0), policy.zone)  # fold=0: the earlier offset of both
    try:
        return midnight.astimezone(UTC)
    except OverflowError as beyond:
        raise RetentionDataError(f"{end} lies outside the calendar") from beyond


def _term(policy: Policy, start: date, end: date) -> Term:
    # never before the start: no policy exists whose notice does not fit into its terms and extensions
    notice_on = latest_start(end, policy.notice.period)
    return Term(start=start, end=end, notice_on=notice_on, over_at=over_after(policy, end))


def _end_from(policy: Policy, event: datetime, period: Period) -> date:
    return moved_on(policy, end_of(local_date(policy, event), period))


def _told_until(policy: Policy, told_on: date) -> date:
    """The last day of the notice period of somebody who is told on `told_on`."""
    return moved_on(policy, end_of(told_on, policy.notice.period))


def _with_what_was_added(
    term: AnyTerm, policy: Policy, was: AgeClass, new: Policy, now: AgeClass, extensions: int
) -> date:
    """The agreed end under `new` for the class `now`, and what extensions added to the one agreed before.

    So many extensions, each from the end before it, add this much at most; the rest is from elsewhere.
    """
    agreed = extended_to = agreed_end(policy, was, term.start)
    for _ in range(extensions):
        if extended_to >= term.end:
            break
        extended_to = moved_on(policy, end_of(extended_to, policy.extension.period))
    added = max(timedelta(0), min(term.end, extended_to) - agreed)
    return moved_on(new, end_of(term.start, new.kept(now)) + added)


def _count(times: int) -> str:
    return "one extension" if times == 1 else f"{times} extensions"


def _day_after(day: date) -> date:
    return end_of(day, Period(days=1))


def _not_before_start(term: AnyTerm, day: date) -> None:
    if isinstance(day, datetime) or day < term.start:
        raise RetentionDataError(f"{day} is not a day on or after the start of the term, {term.start}")


def _only_aware(at: datetime) -> None:
    if at.utcoffset() is None:
        raise RetentionDataError(f"{at} names no time zone: only instants with one are accepted")


def _read(value: object, form: re.Pattern[str]) -> datetime:
    try:
        if not isinstance(value, str) or form.fullmatch(value) is None:
            raise ValueError(value)
        return datetime.fromisoformat(value)
    except ValueError as fault:
        raise RetentionDataError(
            f"{value!r} is not written as a term writes its days and instants"
        ) from fault
