"""The clerk's job that sends what waits in the outbox, and what is sent by hand to try a channel.

Every half minute, apart from the check of the terms: a mail server that takes its time never holds up the
calendar. Each message is claimed, looked at once more, handed over in a thread while no transaction is open,
and answered with an event (`retention.outbox`). A way that takes too long rests until the next turn, so that
the other one goes on. Where no mail server and no program for text messages is
named, nothing is claimed: those notices stay on the list of people's work.
"""

import asyncio
import logging
import secrets
from datetime import UTC, datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from custody import reading
from custody.channel import check_address, digits
from custody.ledger import Ledger, PrivateAltered
from custody.refusal import Refused
from desk.adopted import readable
from desk.bounce import token_of_bounce
from desk.couriers import Couriers
from desk.masters import FileMasters
from desk.sending import How, Message, Outcome, send_mail, send_text, token_key, token_of
from desk.settings import CannotStart, Settings
from retention import outbox
from retention.outbox import Row
from retention.policy import Policy

MOST_IN_ONE_TURN: Final = 500

TOO_SLOW: Final = frozenset({"too_slow", "program_too_slow"})
"""Why a way rests until the next turn."""

COURIERS: Final = Couriers()

log = logging.getLogger("custody.notices")


NEEDED: Final = {"email": "CUSTODY_SMTP_URL and CUSTODY_NOTICE_FROM", "sms": "CUSTODY_SMS_COMMAND"}
"""What is set for each channel over which the service can send."""


class NoWay(Refused):
    """The service cannot send over this channel: what it needs for that is not set."""


def channels(settings: Settings) -> tuple[str, ...]:
    """Over which channels this service can send."""
    known = {"email": settings.smtp, "sms": settings.sms_command}
    return tuple(channel for channel, way in known.items() if way is not None)


def missing(settings: Settings) -> list[str]:
    """What it cannot send, in one sentence each, for whoever starts it."""
    said = []
    if settings.smtp is None:
        said.append("CUSTODY_SMTP_URL is not set: a notice by e-mail is work for a person.")
    if settings.sms_command is None:
        said.append("CUSTODY_SMS_COMMAND is not set: a notice by text message is work for a person.")
    return said


async def deliver(settings: Settings, message: Message) -> Outcome:
    """Hand one message over, by a courier. Raises NoWay where the channel is not configured."""
    if message.channel == "email" and settings.smtp is not None and settings.notice_from is not None:
        return await COURIERS.run(partial(send_mail, message, settings.smtp, settings.notice_from))
    if message.channel == "sms" and settings.sms_command is not None:
        return await COURIERS.run(partial(send_text, message, settings.sms_command))
    raise NoWay(
        "This service cannot send over this channel: whoever runs it sets {settings} for it.",
        settings=NEEDED[message.channel],
    )


async def try_out(settings: Settings, channel: str, address: str, language: str, at: datetime) -> Outcome:
    """One message like a notice, which is no notice: to see whether the channel works. Raises Refused."""
    check_address(channel, address)
    to = digits(address) if channel == "sms" else address
    token = token_of(secrets.token_bytes(32), secrets.token_bytes(32))  # a bounce of it is about no kit
    return await deliver(settings, Message(channel=channel, to=to, language=language, token=token, at=at))


class Notifier:
    """Sends what waits. One for each clerk."""

    def __init__(self, settings: Settings, engine: AsyncEngine, ledger: Ledger) -> None:
        self.settings = settings
        self.engine = engine
        self.ledger = ledger
        self.channels = channels(settings)
        self._resting: set[str] = set()

    async def send_due(self) -> int:
        """Send everything that is due now; answers how many messages were answered."""
        done = 0
        self._resting.clear()
        while (ways := set(self.channels) - self._resting) and done < MOST_IN_ONE_TURN:
            row = await outbox.claim(self.engine, ways)
            if row is None:
                break
            done += 1
            await self._one(row)
        return done

    async def _one(self, row: Row) -> None:
        """One message, from its claim to its answer; whatever it is with this one, the others go on."""
        try:
            how = await self._how(row)
            await outbox.answer(self.ledger, self.engine, row, how, await self._policies())
        except Exception as fault:  # the lease ends, and it is tried again
            log.error("a notice could not be sent or recorded: %s", type(fault).__name__)

    async def _how(self, row: Row) -> str:
        if row.too_often:
            return How.FAILED
        try:
            said = await outbox.to_say(self.ledger, row)
        except PrivateAltered:
            return How.FAILED  # the ledger raised the alarm
        if said is None:
            return "not_wanted"
        try:
            check_address(row.channel, said.address or "")
        except Refused:
            return How.FAILED
        to = digits(said.address or "") if row.channel == "sms" else said.address or ""
        token = token_of(token_key(self.settings.keys), row.event)
        message = Message(channel=row.channel, to=to, language=said.language, token=token, at=said.at)
        outcome = await deliver(self.settings, message)
        if outcome.how is not How.SENT:
            log.warning("a notice was not accepted: %s", outcome)
        if outcome.why in TOO_SLOW:
            self._resting.add(row.channel)
        return outcome.how

    async def _policies(self) -> tuple[Policy, ...]:
        return await policies_of(self.engine)


async def policies_of(engine: AsyncEngine) -> tuple[Policy, ...]:
    """Every adopted policy that can be read; of others the check of the terms tells."""
    async with engine.connect() as connection:
        return readable(await reading.policies(connection))


async def bounced(settings: Settings, engine: AsyncEngine, ledger: Ledger, data: bytes) -> str:
    """Record that the message which this report (RFC 3464) is about came back; answers what was done.

    The same report again changes nothing. Raises `desk.bounce.NotABounce` for anything that is not believed.
    """
    token = token_of_bounce(data)
    key = token_key(settings.keys)
    for event, kit, channel, outcome in await outbox.sent_as(engine):
        if not secrets.compare_digest(token_of(key, event), token):
            continue
        if outcome in ("failed", "not_wanted", "overtaken"):
            return "This message had ended otherwise before; nothing is recorded."
        recorded = await outbox.came_back(ledger, event, kit, channel, await policies_of(engine))
        if recorded:
            return "The notice counts as not given; it is on the list of work."
        return "No notice stands for it any more; nothing is recorded."
    raise Refused("This notification names no message of this service. Nothing was recorded.")


# --- the command line -------------------------------------------------------------------------------------


def test(settings: Settings, address: str, language: str) -> int:
    """Send one message that is no notice, and say what came of it; 1 unless it was accepted."""
    channel = "email" if "@" in address else "sms"
    if channel == "sms" and not any(sign.isdigit() for sign in address):
        raise CannotStart("Write an e-mail address, or a number with its country, such as +32 400 00 00 00.")
    try:
        outcome = asyncio.run(try_out(settings, channel, address, language, datetime.now(UTC)))
    except Refused as refused:
        raise CannotStart(str(refused)) from None
    print(WORDS[outcome.how].format(why=outcome.why.replace("_", " "), code=outcome.code or "no code"))
    return 0 if outcome.how is How.SENT else 1


WORDS: Final = {
    How.SENT: "The message was accepted.",
    How.TRIED: "The message could not be handed over now: {why} ({code}). A notice would be tried again.",
    How.FAILED: "The message was refused: {why} ({code}). A notice would be work for a person.",
}


def take_in(settings: Settings, data: bytes) -> int:
    """Record a bounce from the command line; 1 with a sentence for what is not believed."""
    if settings.clerk_database_url is None:
        raise CannotStart("CUSTODY_CLERK_DATABASE_URL must name the database for the clerk.")
    try:
        print(asyncio.run(_take_in(settings, settings.clerk_database_url, data)))
    except Refused as refused:
        raise CannotStart(str(refused)) from None
    return 0


async def _take_in(settings: Settings, url: str, data: bytes) -> str:
    engine = create_async_engine(url, hide_parameters=True)
    try:
        return await bounced(settings, engine, Ledger(engine, FileMasters(settings.keys)), data)
    finally:
        await engine.dispose()
