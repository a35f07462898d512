"""What the outside is told when something does not go: RFC 9457 problem documents, from one table.

Inside, nothing knows of HTTP: a rule raises what happened, and `PROBLEMS` says which status and title that
is at the edge. An exception that does not stand in the table is a fault of ours: 500, and its own words
stay inside. Nothing here repeats what was sent, and a kit that does not exist gives the same document as
one the asker may not know of.

Every sentence is English and a message key at once; pages pass their translation to `Problem.says`.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import psycopg
import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from custody.card import CardRefused
from custody.event import EventRefused
from custody.ledger import MovedOn
from custody.number import NumberRefused
from custody.purpose import NoPurpose
from custody.refusal import KeyUsed, NotPermitted, NotSeen, Refused, Stale
from desk.session import TooManyAttempts
from desk.settings import CannotStart
from desk.token import TokenRefused

MEDIA_TYPE: Final = "application/problem+json"
MOST_FAULTS: Final = 20
_STATED: Final = re.compile(r"[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*(?= (?:must|is not|has|lacks))")
"""How `custody.event` begins a refusal: with the name of the field."""
_PLACE: Final = re.compile(r"\[(\d+)\]")
OUR_FAULT: Final = "Something failed on our side. Before you repeat the step, look whether it was recorded."
SEND_AGAIN: Final = "Sending the same request again with the same Idempotency-Key is safe."
"""For programs: it stands in the document alone. People at a page are told to send the same form again."""

Translate = Callable[[str], str]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class NotSignedIn(Exception):
    """Nobody is signed in. The same words as for a token that was refused."""

    def __init__(self) -> None:
        super().__init__(TokenRefused.MESSAGE)


class ForeignForm(Exception):
    """A form without the token of this session, or not from one of our pages."""

    def __init__(self) -> None:
        super().__init__(
            "This form was refused: it is too old, or it did not come from this service. Open the page again"
            " and send it once more."
        )


class SignInTooOld(Exception):
    """What is to be done asks for a sign-in that is no older than `MAX_AGE`, and of a strength among `acr`
    where the issuer's configuration names any (RFC 9470)."""

    MAX_AGE: Final = timedelta(minutes=15)

    def __init__(self, acr: tuple[str, ...] = ()) -> None:
        super().__init__(
            "This step asks for a sign-in of the last 15 minutes. Sign in again, then repeat it."
        )
        self.acr = acr


class TookTooLong(Exception):
    """A request was given up because it took us too long."""

    def __init__(self) -> None:
        super().__init__(
            "This took too long and was given up. Before you repeat the step, look whether it was recorded."
        )


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one input: its dotted name (`packages.0.seal`), and why."""

    field: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem as it is shown, as a document or as a page.

    `kind` is the last part of the problem's type and never changes; `title` and `message` are message keys,
    `values` fill the places of `message`; `step` is the key of the step that was refused, if one was.
    `reference` ties what a person was shown to one line of the log. `for_programs` is one more sentence of
    the document that no page shows.
    """

    kind: str
    status: int
    title: str
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[FieldFault, ...] = ()
    step: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    reference: str | None = None
    for_programs: str | None = None

    def says(self, translate: Translate = str, told: Callable[[Any], Any] | None = None) -> str:
        """The whole sentence, in the language of `translate`, its values as `told` writes them."""
        sentence = translate(self.message)
        values = self.values if told is None else {name: told(each) for name, each in self.values.items()}
        return sentence.format(**values) if values else sentence

    def document(self, base_url: str = "", translate: Translate = str) -> dict[str, Any]:
        """The members of RFC 9457, section 3.1, and `errors` (section 3, its example) for single inputs."""
        detail = self.says(translate)
        told: dict[str, Any] = {
            "type": f"{base_url}/problems/{self.kind}",
            "title": translate(self.title),
            "status": self.status,
            "detail": f"{detail} {translate(self.for_programs)}" if self.for_programs else detail,
        }
        if self.faults:
            told["errors"] = [
                {"field": fault.field, "detail": translate(fault.message)} for fault in self.faults
            ]
        if self.reference is not None:
            told["instance"] = f"urn:uuid:{self.reference}"
        return told


def _of(kind: str, status: int, title: str, message: str | None = None, **headers: str) -> "Row":
    named = tuple((name.replace("_", "-").lower(), value) for name, value in headers.items())
    return Row(kind=kind, status=status, title=title, message=message, headers=named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Without a `message`, the exception's own sentence is shown."""

    kind: str
    status: int
    title: str
    message: str | None
    headers: tuple[tuple[str, str], ...]


_BUSY: Final = _of(
    "not-now",
    503,
    "Not available now",
    "The service cannot reach its database now. Try again in a moment, or use the paper form.",
    Retry_After="5",
)
_WRONG_INPUT: Final = _of("wrong-input", 422, "Something in the input is wrong", "Please check the input.")

PROBLEMS: Final[Mapping[type[Exception], Row]] = {
    TokenRefused: _of("not-signed-in", 401, "Not signed in", WWW_Authenticate='Bearer realm="custody"'),
    NotSignedIn: _of("not-signed-in", 401, "Not signed in", WWW_Authenticate='Bearer realm="custody"'),
    SignInTooOld: _of(
        "sign-in-too-old",
        401,
        "A recent sign-in is needed",
        WWW_Authenticate='Bearer realm="custody", error="insufficient_user_authentication",'
        f" max_age={int(SignInTooOld.MAX_AGE.total_seconds())}",
    ),
    ForeignForm: _of("foreign-form", 403, "Form refused"),
    TooManyAttempts: _of("too-many-attempts", 429, "Too many attempts"),
    NotSeen: _of("not-found", 404, "Not found"),
    NotPermitted: _of("not-allowed", 403, "Not allowed"),
    Refused: _of("refused", 409, "Not possible now"),
    MovedOn: _of("moved-on", 409, "Somebody was quicker", str(Stale())),
    Stale: _of("moved-on", 412, "Somebody was quicker"),
    KeyUsed: _of("key-used", 422, "Key used before"),
    NumberRefused: _of("wrong-number", 422, "Not a number of ours"),
    CardRefused: _of("wrong-card", 422, "This code is not known"),
    EventRefused: _of("wrong-input", 422, "Something in the input is wrong"),
    ValidationError: _WRONG_INPUT,
    RequestValidationError: _WRONG_INPUT,
    sqlalchemy.exc.OperationalError: _BUSY,
    sqlalchemy.exc.InterfaceError: _BUSY,
    sqlalchemy.exc.TimeoutError: _BUSY,
    CannotStart: _of(  # while requests are served: a master key that is missing, silent or of no use
        "not-now",
        503,
        "Not available now",
        "What must stay private at the centre cannot be sealed or opened now: its master key does not answer."
        " Nothing was registered or changed. Tell those who run the service; until then use the paper form.",
        Retry_After="60",
    ),
    TookTooLong: _of("not-now", 503, "Not available now", Retry_After="5"),
    psycopg.OperationalError: _BUSY,
    psycopg.InterfaceError: _BUSY,
}

STATUSES: Final[Mapping[int, Row]] = {
    400: _of("wrong-request", 400, "Request not understood", "The request could not be read."),
    401: PROBLEMS[NotSignedIn],
    403: _of("not-allowed", 403, "Not allowed", "You are not allowed to do this."),
    404: _of("not-found", 404, "Not found", "There is nothing at this address that you can open."),
    405: _of("wrong-method", 405, "Method not allowed", "This address does not take this method."),
    406: _of("not-acceptable", 406, "Not acceptable", "There is no form of this that you accept."),
    408: _of(
        "too-slow",
        408,
        "Too slow",
        "The request took too long to arrive. Nothing was done; send it again.",
        Connection="close",
    ),
    413: _of("too-large", 413, "Too large", "The request is larger than is accepted."),
    414: _of("too-large", 414, "Too large", "The address is longer than is accepted."),
    415: _of("wrong-media-type", 415, "Media type not accepted", "The request is not in an accepted format."),
    428: _of("if-match-needed", 428, "If-Match needed", "Say with If-Match which state you decided on."),
    431: _of("too-large", 431, "Too large", "The headers of the request are larger than is accepted."),
    503: _BUSY,
}
_FAULT: Final = _of("our-fault", 500, "Something failed", OUR_FAULT)


def problem_of(happened: Exception, reference: str | None = None) -> Problem:
    """The problem that stands in the table for what happened; the nearest class decides."""
    if isinstance(happened, HTTPException):
        return _of_status(happened, reference)
    row = next((PROBLEMS[each] for each in type(happened).__mro__ if each in PROBLEMS), _FAULT)
    problem = Problem(
        kind=row.kind,
        status=row.status,
        title=row.title,
        message=str(happened) if row.message is None else row.message,
        headers=row.headers,
        reference=reference,
        for_programs=SEND_AGAIN if row is _FAULT or isinstance(happened, TookTooLong) else None,
    )
    match happened:
        case NotSeen():
            return problem
        case NoPurpose():
            accepted = f"Words that are accepted: {', '.join(happened.words)}."
            named = {"kit": happened.kit} if happened.kit else {}
            return replace(
                _refused(problem, happened), kind=problem.kind, values=named, for_programs=accepted
            )
        case Refused():
            return _refused(problem, happened)
        case NumberRefused() | CardRefused():
            values = dict(happened.values) if isinstance(happened, NumberRefused) else {}
            return replace(problem, message=happened.fault.value, values=values)
        case EventRefused():
            return replace(problem, faults=_stated_fault(str(happened)))
        case ValidationError() | RequestValidationError():
            return replace(problem, faults=_field_faults(happened))
        case SignInTooOld() if happened.acr:
            wanted = f', acr_values="{" ".join(happened.acr)}"'
            told = tuple((name, value + wanted) for name, value in problem.headers)
            return replace(problem, headers=told)
        case TooManyAttempts():
            seconds = int(happened.wait.total_seconds()) + 1
            return replace(problem, headers=(*problem.headers, ("retry-after", str(seconds))))
    return problem


def _refused(problem: Problem, refused: Refused) -> Problem:
    faults = (FieldFault(refused.field, str(refused)),) if refused.field else ()
    wrong_input = faults and problem.kind == "refused"
    return replace(
        problem,
        status=422 if wrong_input else problem.status,
        message=refused.message,
        values=refused.values,
        faults=faults,
        step=refused.step,
    )


def _of_status(raised: HTTPException, reference: str | None) -> Problem:
    """What the framework raises. Its own words may repeat what was sent, so ours are shown instead."""
    usual = STATUSES[400] if 400 <= raised.status_code < 500 else _FAULT
    row = STATUSES.get(raised.status_code, usual)
    allowed = [("allow", value) for name, value in (raised.headers or {}).items() if name.lower() == "allow"]
    return Problem(
        kind=row.kind,
        status=raised.status_code,
        title=row.title,
        message=row.message or TokenRefused.MESSAGE,
        headers=(*row.headers, *allowed),
        reference=reference,
        for_programs=SEND_AGAIN if row is _FAULT else None,
    )


def _stated_fault(sentence: str) -> tuple[FieldFault, ...]:
    """`packages[1].seal must have …` names the field `packages.0.seal`, counted as everywhere else."""
    stated = _STATED.match(sentence)
    if stated is None:
        return ()
    return (FieldFault(_PLACE.sub(lambda place: f".{int(place[1]) - 1}", stated[0]), sentence),)


def _field_faults(wrong: ValidationError | RequestValidationError) -> tuple[FieldFault, ...]:
    """Names and reasons only: what pydantic keeps beside them repeats the input."""
    found = []
    for error in wrong.errors()[:MOST_FAULTS]:
        place = error["loc"][1:] if error["loc"][:1] == ("body",) else error["loc"]
        name = ".".join(str(part) for part in place)[:200] or "body"
        found.append(FieldFault(name, error["msg"]))
    return tuple(found)


async def send_problem(problem: Problem, send: Send, *, base_url: str, translate: Translate = str) -> None:
    """Answer an ASGI request with the problem as a document."""
    body = json.dumps(problem.document(base_url, translate), separators=(",", ":")).encode("ascii")
    headers = [
        ("content-type", MEDIA_TYPE),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        *problem.headers,
    ]
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def wants_page(accept: str | None) -> bool:
    """Whether the asker prefers a page to a document (RFC 9110, section 12.5.1). In doubt: a document."""
    if accept is None:
        return False
    return _quality(accept, "text/html") > max(
        _quality(accept, MEDIA_TYPE), _quality(accept, "application/json")
    )


def _quality(accept: str, media_type: str) -> float:
    """How much a media type is wanted, 0 to 1; the most exact range decides."""
    ranges = {media_type: 3, media_type.partition("/")[0] + "/*": 2, "*/*": 1}
    best, wanted = 0, 0.0
    for entry in accept[:1000].lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weights = [part[2:] for part in parameters if part.startswith("q=")]
        if ranges.get(name, 0) > best:
            best, wanted = ranges[name], _weight(weights[0]) if weights else 1.0
    return wanted


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
