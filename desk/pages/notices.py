"""Telling the victim: the list of calls to make and of messages that did not arrive, and one kit's channel.

The address stands on the page of one kit alone, after its reading is on record. There the agreed question
comes first, then what to say, then what came of it: one press of a button.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from custody import access
from custody.number import parse_kit_number
from custody.permission import may
from custody.purpose import TASK
from custody.refusal import NotPermitted, NotSeen, Refused
from desk import edge, notifier, texts
from desk.api.notices import BY_SERVICE, channel_answer, channel_seen, notices_of, try_channel
from desk.edge import Signed
from desk.pages import forms
from desk.pages.ends import last_day
from desk.pages.page import page, translated
from desk.pages.steps import possible, to_be_told
from desk.problems import Problem, problem_of
from retention.deciding import nobody_decides
from retention.notice import DAYS_NOT_REACHED

router = APIRouter()
Teller = Annotated[Signed, Depends(edge.acting("notice.attempt"))]

STANDS: Final[Mapping[str, str]] = {
    "to_call": texts._("to be called"),
    "to_post": texts._("a letter is to be sent"),
    "never_proved": texts._("nothing was sent, because nobody has tried the channel yet"),
    "proved_long_ago": texts._("nothing was sent, because the channel was confirmed long ago"),
    "to_send": texts._("nothing was sent yet"),
    "failed": texts._("the message was not accepted: compare the address with the victim"),
    "bounced": texts._("the message came back: compare the address with the victim"),
    "unrecorded": texts._("a message may have gone out, but what came of it could not be recorded"),
    "cannot_send": texts._("the service cannot send over this channel here: it is for a person to do"),
    "waiting": texts._("the service sends it"),
    "held": texts._("held for death or incapacity: nobody is told"),
    "settled": texts._("settled"),
}

# What came of a call or a letter: the word of the event and its button.
CAME_OF_IT: Final[Mapping[str, Mapping[str, str]]] = {
    "phone": {
        "reached": texts._("Reached: the victim knows now"),
        "not_reached": texts._("Not reached, or somebody else answered"),
    },
    "post": {"posted": texts._("The letter was sent")},
}
OTHERWISE: Final[Mapping[str, str]] = {
    "reached": texts._("The victim answered, and knows now"),
    "not_reached": texts._("No answer from the victim"),
}
CAME_OF_TEST: Final[Mapping[str, str]] = {
    "sent": texts._("The message was accepted. Wait until the victim shows it to you."),
    "tried": texts._("The message could not be handed over now. Try again in a few minutes."),
    "failed": texts._("The address was refused. Compare it with the victim, and change the channel."),
}
PROVED_BY: Final[Mapping[str, Mapping[str, str]]] = {
    "email": {"message_shown": texts._("The victim showed the message")},
    "sms": {"message_shown": texts._("The victim showed the message")},
    "phone": {"called": texts._("I called, and the victim answered")},
    "post": {"in_person": texts._("The victim confirmed the address in person")},
}
IN_PERSON: Final = PROVED_BY["post"]


HOW: Final = texts.CHOICES["how"]
BY_CLOCK: Final = frozenset({"sent", "tried", "failed", "bounced"})
"""What comes of a message that the service was asked to send."""


def _proofs(channel: str, sends: Sequence[str], tested: str | None) -> Mapping[str, str]:
    """What proves the channel now: a message is shown only once one was accepted."""
    if channel in sends:
        return PROVED_BY[channel] if tested == "sent" else {}
    return IN_PERSON if channel in ("email", "sms") else PROVED_BY.get(channel, {})


def _day(at: datetime) -> date:
    return at.astimezone(edge.CALENDAR).date()


@router.get("/notices")
async def listed(request: Request, who: Teller) -> Response:
    """Every notice that is not settled: first what people must do, then what the service does."""
    service = edge.service(request)
    await access.record(service.engine, who.actor, read="worklist", kit=None, purpose=TASK)
    found = await notices_of(service, who.actor)
    return await page(
        request,
        "notices.html",
        title=translated(request, texts._("Notices")),
        who=who,
        at=found.at,
        calls=[n for n in found.notices if n.stands == "to_call"],
        others=[n for n in found.notices if n.stands not in BY_SERVICE and n.stands != "to_call"],
        by_service=[n for n in found.notices if n.stands in BY_SERVICE],
        last_day=last_day,
        missing=[translated(request, MISSING[c]) for c in ("email", "sms") if c not in found.sends],
        STANDS=STANDS,
    )


MISSING: Final[Mapping[str, str]] = {
    "email": texts._("The service sends no e-mail here: such a notice is work for a person."),
    "sms": texts._("The service sends no text messages here: such a notice is work for a person."),
}


@router.get("/kits/{number}/channel")
async def channel(request: Request, number: str, who: Teller) -> Response:
    """The safe channel of one kit, and what can be done over it."""
    return await _channel(request, number, who, request.query_params.get("for") or TASK)


@router.post("/kits/{number}/channel")
async def test(request: Request, number: str, who: Teller) -> Response:
    """Send a message that tries the channel, and show what came of it."""
    form = await request.form()
    purpose = forms.value(form, "for") or TASK
    try:
        done = await try_channel(
            edge.service(request), who.actor, parse_kit_number(number), purpose, await edge.now(request)
        )
    except (NotSeen, NotPermitted):
        raise
    except Refused as refused:
        return await _channel(request, number, who, purpose, problem=problem_of(refused))
    return await _channel(request, number, who, purpose, tested=done.how)


async def _channel(
    request: Request,
    number: str,
    who: Signed,
    purpose: str,
    *,
    tested: str | None = None,
    problem: Problem | None = None,
) -> Response:
    service = edge.service(request)
    kit, found = await channel_seen(service, who.actor, parse_kit_number(number), purpose)
    eyes = await service.eyes(who.actor, kit)
    shown = await channel_answer(service, eyes, kit, found, await edge.now(request))
    agreed = shown.channel != "none"
    sends = notifier.channels(service.settings)
    can = {
        action: may(action, eyes, kit) and possible(action, kit)
        for action in ("notice.attempt", "notice.send", "channel.prove", "channel.change")
    }
    silent = nobody_decides(kit)
    can["channel.prove"] = can["channel.prove"] and not silent
    told, stands = to_be_told(kit), shown.stands not in ("waiting", "held")
    return await page(
        request,
        "channel.html",
        title=translated(request, texts._("Safe channel")),
        who=who,
        status=problem.status if problem else 200,
        problem=problem,
        kit=kit,
        purpose=purpose,
        shown=shown,
        agreed=agreed,
        silent=silent,
        can=can | {"notice.attempt": can["notice.attempt"] and told},
        testable=can["channel.prove"] and shown.channel in sends and shown.address is not None,
        unsent=shown.channel in ("email", "sms") and shown.channel not in sends,
        sendable=can["notice.send"] and told and stands and shown.channel in sends,
        results=CAME_OF_IT.get(shown.channel, OTHERWISE) if agreed else {},
        proofs=_proofs(shown.channel, sends, tested),
        attempts=[(each.at, HOW[each.how], each.channel) for each in kit.attempts],
        days_tried=len({_day(each.at) for each in kit.attempts if each.how == "not_reached"}),
        days_needed=DAYS_NOT_REACHED,
        sent_before=any(each.how in BY_CLOCK for each in kit.attempts),
        tested=translated(request, CAME_OF_TEST[tested]) if tested else None,
        STANDS=STANDS,
    )
