"""Notices and the safe channel: what still has to be told to whom, by whom, and over which channel.

Recording an attempt, proving and changing a channel, and having a notice sent are commands like all others
(`desk.doors`). Here stands what is looked at for them. An address is told only for one kit at a time, after
that reading is on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access, reading
from custody.channel import Channel, agreed_now
from custody.kit import Kit
from custody.ledger import reading as seen_by
from custody.number import parse_kit_number
from custody.people import Actor
from custody.permission import permit
from custody.protocol import Retention
from custody.purpose import TASK
from custody.refusal import Refused
from desk import notifier
from desk.api.answers import answer, written
from desk.api.document import describes
from desk.api.kits import Why
from desk.attempt_key import attempt_key
from desk.edge import Signed, acting, now, service
from desk.service import Service
from desk.session import Purpose, count_attempt
from desk.wording import wording
from retention import outbox
from retention.notice import may_write, proved_lately, settled
from retention.policy import Policy
from retention.reckoning import policy_of

router = APIRouter(tags=["notices"])

Teller = Annotated[Signed, Depends(acting("notice.attempt"))]

BY_SERVICE: Final = frozenset({"waiting", "held", "settled"})
"""Where nobody has anything to do now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeLine:
    """A kit whose victim is to be told that the term is ending.

    `stands` says where that is: `to_call`, `to_post`, `never_proved`, `proved_long_ago`, `to_send`, `failed`,
    `bounced`, `unrecorded` (it may have gone out), `cannot_send` (the service was not told how), `waiting`
    (it sends, or tries again at `next_at`) or `held`. `acts` is who must act: `nurse`, or nobody (`service`).
    """

    kit: str
    written: str
    stands: str
    acts: str
    channel: str
    due_at: datetime | None
    over_at: datetime | None
    attempts: int
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Every notice of the centre that is not settled, as of `at`. `sends`: the channels the service uses."""

    at: datetime
    sends: tuple[str, ...]
    notices: tuple[NoticeLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAnswer:
    """The safe channel of one kit. `local_time` is the time at the centre now; `question` is asked first, and
    `say` then, in the language that was agreed; `hours` is when a call suits the victim."""

    kit: str
    channel: str
    language: str | None
    address: str | None
    hours: str | None
    question: str | None
    proved_at: datetime | None
    proved_lately: bool
    stands: str | None
    local_time: str
    say: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TestMessage:
    """What came of a message that tries the channel: `sent`, `tried` (not now) or `failed`, and why."""

    how: str
    why: str


# --- every notice that is not settled ---------------------------------------------------------------------


async def notices_of(service: Service, actor: Actor) -> Notices:
    """What this person's centre still has to tell, the soonest end first."""
    policies = await service.policies()
    sends = notifier.channels(service.settings)
    centre = actor.organisation or ""
    async with seen_by(service.engine, actor) as connection:
        at = await reading.now(connection)
        kits = await reading.kits_at(connection, centre, Retention.NOTICE_DUE)
        for state in (Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED):
            kits += [kit for kit in await reading.kits_at(connection, centre, state) if not settled(kit)]
        messages = await outbox.of_kits(connection, [kit.number for kit in kits])
    lines = [_line(kit, policies, at, messages.get(kit.number), sends) for kit in kits]
    return Notices(at=at, sends=sends, notices=tuple(each for each in lines if each.stands != "settled"))


def _line(
    kit: Kit,
    policies: Sequence[Policy],
    at: datetime,
    message: outbox.Standing | None,
    sends: Sequence[str],
) -> NoticeLine:
    where = _stands(kit, policies, at, message, sends)
    waiting = message is not None and message.done_at is None and not message.put_aside
    return NoticeLine(
        kit=kit.number,
        written=written(kit.number),
        stands=where,
        acts="service" if where in BY_SERVICE else "nurse",
        channel=kit.channel or "none",
        due_at=kit.notice_due_at,
        over_at=kit.term.over_at if kit.term else None,
        attempts=len(kit.attempts),
        next_at=message.next_at if message is not None and waiting else None,
    )


def _stands(
    kit: Kit,
    policies: Sequence[Policy],
    at: datetime,
    message: outbox.Standing | None,
    sends: Sequence[str],
) -> str:
    try:
        policy = policy_of(kit, policies)
    except Refused:
        return "to_send"  # its policy is not adopted here; the list must show the kit all the same
    return outbox.stands(kit, policy, at, message, sends)


@router.get(
    "/notices",
    name="notices",
    summary="Notices that nobody has settled, and who must act",
    openapi_extra=describes(answers={200: Notices}),
)
async def notices(request: Request, who: Teller) -> Response:
    await access.record(service(request).engine, who.actor, read="worklist", kit=None, purpose=TASK)
    return answer(await notices_of(service(request), who.actor))


# --- the channel of one kit -------------------------------------------------------------------------------


async def channel_seen(service: Service, actor: Actor, number: str, purpose: str) -> tuple[Kit, Channel]:
    """A kit and its safe channel, the reading on record before. Raises NotSeen, NotPermitted, NoPurpose."""
    kit = await service.kit(actor, number, "private.read", purpose)
    eyes = await service.eyes(actor, kit)
    permit("notice.attempt", eyes, kit)
    return kit, agreed_now(kit.channel, await service.ledger.private_parts(eyes, kit))


async def channel_answer(
    service: Service, actor: Actor, kit: Kit, channel: Channel, at: datetime
) -> ChannelAnswer:
    """The channel as it is shown to who tells the victim."""
    policies = await service.policies()
    async with seen_by(service.engine, actor) as connection:
        messages = await outbox.of_kits(connection, [kit.number])
    told = kit.retention in (Retention.NOTICE_DUE, Retention.EXPIRED, Retention.PROPOSED, Retention.APPROVED)
    sends = notifier.channels(service.settings)
    where = _stands(kit, policies, at, messages.get(kit.number), sends) if told else None
    try:
        policy = policy_of(kit, policies)
        lately, local = proved_lately(kit, policy, at), at.astimezone(policy.zone)
    except Refused:
        lately, local = False, at
    agreed = kit.channel not in (None, "none")
    return ChannelAnswer(
        kit=kit.number,
        channel=kit.channel or "none",
        language=kit.language,
        address=channel.address if agreed else None,
        hours=channel.hours if agreed else None,
        question=channel.question if agreed else None,
        proved_at=kit.channel_proved_at,
        proved_lately=lately,
        stands=where,
        local_time=f"{local:%H:%M}",
        say=wording(kit.language or "en")["call"],
    )


async def try_channel(service: Service, actor: Actor, number: str, purpose: str, at: datetime) -> TestMessage:
    """Send a message like a notice over the agreed channel; nothing of it is recorded but the reading.

    Raises Refused where the channel is none that the service can use, where no notice will be given, and
    while another such message is on its way; TooManyAttempts for who sent too many.
    """
    kit, channel = await channel_seen(service, actor, number, purpose)
    may_write(kit)
    if kit.channel not in ("email", "sms") or channel.address is None:
        raise Refused("The service can send by e-mail and text message alone. This is for a person to do.")
    if number in _UNDER_WAY:
        raise Refused("A message that tries this channel is on its way now. Wait a minute, then look again.")
    _UNDER_WAY.add(number)
    try:
        counting = attempt_key(service.settings.keys)
        await count_attempt(service.engine, Purpose.CHANNEL_TEST, actor.author, counting)
        outcome = await notifier.try_out(
            service.settings, kit.channel, channel.address, kit.language or "en", at
        )
    finally:
        _UNDER_WAY.discard(number)
    return TestMessage(how=outcome.how.value, why=outcome.why)


_UNDER_WAY: Final[set[str]] = set()
"""Kits over whose channel this worker sends a message at this moment."""


@router.get(
    "/kits/{number}/channel",
    name="channel",
    summary="The safe channel of one kit, what is asked first and what to say",
    openapi_extra=describes(answers={200: ChannelAnswer}),
)
async def channel(request: Request, number: str, who: Teller, purpose: Why) -> Response:
    kit, found = await channel_seen(service(request), who.actor, parse_kit_number(number), purpose)
    at = await now(request)
    return answer(await channel_answer(service(request), who.actor, kit, found, at))


@router.post(
    "/kits/{number}/channel/test",
    name="channel_test",
    summary="Send a neutral message over the safe channel, to see whether it arrives",
    openapi_extra=describes(answers={200: TestMessage}, key=False),
)
async def channel_test(request: Request, number: str, who: Teller, purpose: Why) -> Response:
    known = parse_kit_number(number)
    return answer(await try_channel(service(request), who.actor, known, purpose, await now(request)))
