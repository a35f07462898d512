"""What is overdue at a centre, and who must act: every kind in one place, for its staff."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from custody import access, reading
from custody.directory import Directory
from custody.ledger import reading as seen_by
from custody.people import Actor, Function
from custody.purpose import TASK
from custody.refusal import Refused
from desk import duty
from desk.adopted import read_policies
from desk.alarm import alarm_of, silent_since
from desk.api.answers import answer, written
from desk.api.document import describes
from desk.edge import Signed, acting, service
from desk.service import Service
from retention import alarms
from retention.alarms import BY_NAME, RULES, Alarm, in_order
from retention.overdue import Overdue, overdue_for

router = APIRouter(tags=["alarms"])

MOST_LINES: Final = 500
"""Alarms in one answer; whoever has more of them asks for one kind at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActsLine:
    """Somebody who must act: functions at an organisation, or one person there."""

    functions: tuple[str, ...]
    organisation: str | None = None
    organisation_name: str | None = None
    person: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmLine:
    """Something overdue. `rule` is its kind, `since` when it began to wait, `due_at` when it became overdue.

    `mine` says that it is this person's to act on; `acts` who else's; `do` what is to be done. `why` is what
    the service itself says of it.
    """

    rule: str
    watches: str
    do: str
    since: datetime
    due_at: datetime
    mine: bool
    acts: tuple[ActsLine, ...]
    kit: str | None = None
    written: str | None = None
    packages: tuple[int, ...] = ()
    place: str | None = None
    place_name: str | None = None
    about: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmKind:
    """One kind of alarm, read aloud, and how many there are now, of which so many for this person."""

    rule: str
    watches: str
    after: str
    who: tuple[str, ...]
    do: str
    alarms: int
    mine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """What is overdue as of `at`: first what this person must do, then by how long it is overdue.

    `alarms` are those that were asked for, 500 at most; `kinds` counts all of them. `more` says that there
    are kits that were not looked at, because too many have something to do.
    """

    at: datetime
    alarms: tuple[AlarmLine, ...]
    kinds: tuple[AlarmKind, ...]
    more: bool = False


async def alarms_for(service: Service, actor: Actor) -> Overdue:
    """Everything overdue that this person of a centre may know of, as of one moment."""
    policies = await service.policies()
    centre = actor.organisation or ""
    async with seen_by(service.engine, actor) as connection:
        found = await overdue_for(connection, actor, policies)
        opened = await duty.unreviewed(connection, centre) if actor.function is Function.COORDINATOR else ()
    beside = [
        alarms.not_reviewed(
            "duty_not_reviewed",
            centre,
            each.opened_at,
            actor.person if actor.person in each.used_by else None,
            None,
            each.id,
        )
        for each in opened
        if each.opened_at is not None
    ]
    beside += _of_log(service.settings.keys, centre, found.at)
    beside += await _of_policies(service, actor, found.at)
    late = alarms.overdue(beside, found.at)
    return Overdue(at=found.at, alarms=in_order((*found.alarms, *late), actor), more=found.more)


def _of_log(keys: Path, centre: str, at: datetime) -> list[Alarm]:
    """What the clerk says beside the keys, where this machine has them; its time is the machine's own."""
    words, since = alarm_of(keys), silent_since(keys, datetime.now(UTC))
    if words is None and since is None:
        return []
    told = words or "What signs the log has not been heard of."
    return [alarms.log_not_signed(centre, min(since or at, at), told)]


async def _of_policies(service: Service, actor: Actor, at: datetime) -> list[Alarm]:
    """One for each adopted policy version whose document cannot be read, or is not the one adopted."""
    async with seen_by(service.engine, actor) as connection:
        documents = await reading.policies(connection)
        events = await reading.adoptions(connection)
    readable = {sha256(each).hexdigest() for each in documents if read_policies(each)}
    return [
        alarms.policy_unreadable(
            actor.organisation or "",
            min(event.recorded_at, at),
            f"{event.get('policy')['id']}/{event.get('policy')['version']}",
        )
        for event in events
        if event.get("digest") not in readable
    ]


def chosen(found: Overdue, actor: Actor, rule: str | None, who: str | None) -> tuple[Alarm, ...]:
    """Those that were asked for: of one kind, and of one person's, ``me`` or a person's name in the register.

    Raises Refused for a kind that there is not.
    """
    if rule is not None and rule not in BY_NAME:
        raise Refused("There is no such kind of alarm: {rule}.", field="rule", rule=rule[:40])
    return tuple(
        each
        for each in found.alarms
        if rule in (None, each.rule) and (who is None or _is_of(each, actor, who))
    )


def _is_of(alarm: Alarm, actor: Actor, who: str) -> bool:
    return alarm.is_for(actor) if who == "me" else any(each.person == who for each in alarm.acts)


def line(alarm: Alarm, actor: Actor, directory: Directory) -> AlarmLine:
    """An alarm as it is answered."""
    rule = BY_NAME[alarm.rule]
    place = directory.places.get(alarm.place) if alarm.place else None
    return AlarmLine(
        rule=rule.name,
        watches=rule.watches,
        do=rule.do,
        since=alarm.since,
        due_at=alarm.due_at,
        mine=alarm.is_for(actor),
        acts=tuple(_acts(each, directory) for each in alarm.acts),
        kit=alarm.kit,
        written=written(alarm.kit) if alarm.kit else None,
        packages=alarm.packages,
        place=alarm.place,
        place_name=place.name if place else None,
        about=alarm.about,
        why=alarm.why,
    )


def _acts(acts: alarms.Acts, directory: Directory) -> ActsLine:
    organisation = directory.organisations.get(acts.organisation or "")
    return ActsLine(
        functions=tuple(sorted(acts.functions)),
        organisation=acts.organisation,
        organisation_name=organisation.name if organisation else None,
        person=acts.person,
        name=acts.name,
    )


def kinds_of(found: Overdue, actor: Actor) -> tuple[AlarmKind, ...]:
    """Every kind there is, in the order of the rules, with how many stand now."""
    return tuple(
        AlarmKind(
            rule=rule.name,
            watches=rule.watches,
            after=rule.after,
            who=tuple(sorted(rule.who)),
            do=rule.do,
            alarms=sum(each.rule == rule.name for each in found.alarms),
            mine=sum(each.rule == rule.name and each.is_for(actor) for each in found.alarms),
        )
        for rule in RULES
    )


@router.get(
    "/alarms",
    name="alarms",
    summary="What is overdue, and who must act",
    openapi_extra=describes(answers={200: Alarms}),
)
async def overdue(
    request: Request,
    who: Annotated[Signed, Depends(acting("alarm.read"))],
    rule: Annotated[str | None, Query(description="One kind of alarm")] = None,
    person: Annotated[str | None, Query(description="Whose: `me`, or one person of the register")] = None,
) -> Response:
    await access.record(service(request).engine, who.actor, read="worklist", kit=None, purpose=TASK)
    found = await alarms_for(service(request), who.actor)
    wanted = chosen(found, who.actor, rule, person)
    directory = await service(request).directory()
    return answer(
        Alarms(
            at=found.at,
            alarms=tuple(line(each, who.actor, directory) for each in wanted[:MOST_LINES]),
            kinds=kinds_of(found, who.actor),
            more=found.more or len(wanted) > MOST_LINES,
        )
    )
