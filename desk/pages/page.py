"""How every page is made: language, words, times, receipts, and what is shown when something does not go."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache, partial
from gettext import NullTranslations
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.support import Translations
from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from sqlalchemy import text
from starlette.responses import HTMLResponse, RedirectResponse, Response

from custody import reading
from custody.ledger import reading as seen_by
from custody.number import KitNumber, written
from custody.people import STAFF, Actor, Function
from custody.permission import PERMISSIONS, may
from custody.purpose import PURPOSES_OF, SCAN, UNTRUE, reasons_of
from custody.refusal import NotSeen
from desk import edge, texts
from desk.problems import Problem

HERE: Final = Path(__file__).parent.parent
TRANSLATIONS: Final = HERE / "translations"
STATIC: Final = HERE / "static"
ADVICE: Final[Mapping[int, tuple[str, ...]]] = {
    401: (texts._("Sign in, then open the page again."),),
    403: (
        texts._("Check in which function you are signed in."),
        texts._("If a form was refused: open its page again and send it once more."),
    ),
    404: (
        texts._("Check the number, or scan the label again."),
        texts._("If you expect to see this kit, ask who holds it to hand it over to you."),
    ),
    409: (texts._("Open the kit again and look at how it stands now, then decide."),),
    412: (texts._("Open the kit again and look at how it stands now, then decide."),),
    413: (texts._("Choose a smaller file, or type the digest of the document."),),
    422: (texts._("Go back, correct what is named above, and send it again."),),
    429: (texts._("Wait a little, then try again."),),
}
NO_SUCH_PAGE: Final = (texts._("Check the address, or begin at the first page."),)
ABOUT_KITS: Final = ("/kits/", "/scan", "/s/", "/S/", "/do/")
USUAL_ADVICE: Final = (
    texts._("Try again in a moment. Sending the same form again records nothing twice."),
    texts._("If it lasts, use the paper form, and enter it afterwards as recorded on paper."),
)


# --- language and words -----------------------------------------------------------------------------------


def languages() -> list[str]:
    """The languages there is a catalogue for; English stands in the code."""
    found = (path.parent.parent.name for path in TRANSLATIONS.glob("*/LC_MESSAGES/messages.mo"))
    return sorted({"en", *found})


def language(request: Request) -> str:
    """The reader's language: the cookie's, or the browser's, among those there are."""
    wanted = [request.cookies.get("language", "")]
    for entry in request.headers.get("accept-language", "")[:200].split(","):
        wanted.append(entry.split(";")[0].strip().lower()[:2])
    known = languages()
    return next((each for each in wanted if each in known), "en")


def moment(at: datetime, lang: str = "en") -> str:
    """A time as people at the centre read it, in their calendar."""
    return format_datetime(at.astimezone(edge.CALENDAR), "d MMM y, HH:mm", locale=Locale.parse(lang))


def due(at: datetime, lang: str = "en") -> str:
    """By when something is to be done: where whole days count, the last of them, and no midnight after it."""
    local = at.astimezone(edge.CALENDAR)
    return day(local.date() - timedelta(days=1), lang) if local.time() == time() else moment(at, lang)


def day(on: date, lang: str = "en") -> str:
    return format_date(on, "d MMMM y", locale=Locale.parse(lang))


def _told(lang: str, value: object) -> object:
    """A value of a refusal as people read it: a day and a time in words."""
    if isinstance(value, datetime):
        return moment(value, lang)
    return day(value, lang) if isinstance(value, date) else value


def kit_written(number: str) -> str:
    return written(KitNumber(number))


@lru_cache(maxsize=64)
def _version(name: str, changed: float) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def static(name: str) -> str:
    """The address of a static file; its content is in the address, so that a new one is fetched at once."""
    path = STATIC / name
    return f"/static/{name}?v={_version(name, path.stat().st_mtime)}" if path.exists() else f"/static/{name}"


@pass_context
def _csrf(context: Context) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(edge.FORM_TOKEN, context["form_token"])


@pass_context
def _once(context: Context) -> Markup:
    """The form token, and a key made now: sent twice, the form finds its first receipt."""
    return _csrf(context) + Markup('<input type="hidden" name="key" value="{}">').format(new_key())


def _heading(problem: Problem) -> str:
    """Above a problem: what was typed is to be looked at again, unless the kit's state is the reason."""
    asked_again = ("wrong-input", "wrong-number")
    typed = problem.kind in asked_again or (problem.kind == "refused" and problem.status == 422)
    return texts._("Please check what was typed") if typed else problem.title


def _word(known: NullTranslations, table: Mapping[str, str], key: object) -> str:
    word = table.get(str(key))
    return known.gettext(word) if word else str(key).replace("_", " ")


@lru_cache(maxsize=8)
def _catalogue(lang: str) -> NullTranslations:
    return NullTranslations() if lang == "en" else Translations.load(str(TRANSLATIONS), [lang])


@lru_cache(maxsize=8)
def _environment(lang: str) -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known = _catalogue(lang)
    made.install_gettext_translations(known, newstyle=True)  # type: ignore[attr-defined]  # the extension's
    made.filters["kit"] = kit_written
    made.filters["date"] = date.fromisoformat
    made.globals.update(
        static=static,
        csrf=_csrf,
        once=_once,
        word=partial(_word, known),
        heading=lambda problem: known.gettext(_heading(problem)),
        says=lambda problem: problem.says(known.gettext, partial(_told, lang)),
        moment=lambda at: moment(at, lang),
        due=lambda at: due(at, lang),
        day=lambda on: day(on, lang),
        lang=lang,
        FUNCTIONS=texts.FUNCTIONS,
        CUSTODY=texts.CUSTODY,
        LEGAL=texts.LEGAL,
        RETENTION=texts.RETENTION,
        STORAGE=texts.STORAGE,
        KINDS=texts.KINDS,
        ITEMS=texts.ITEMS,
        GROUPS=texts.GROUPS,
        EVENTS=texts.EVENTS,
        ACTIONS=texts.ACTIONS,
        EXPLAINED=texts.EXPLAINED,
        FIELDS=texts.FIELDS,
        HINTS=texts.HINTS,
        CHOICES=texts.CHOICES,
        PURPOSES=texts.PURPOSES,
        READ_FOR=texts.READ_FOR,
        EXPORT_PURPOSES=texts.EXPORT_PURPOSES,
        GLASS_REASONS=texts.GLASS_REASONS,
        READ_WHAT=texts.READ_WHAT,
        UNUSUAL=texts.UNUSUAL,
    )
    return made


def translated(request: Request, message: str) -> str:
    """A message in the reader's language."""
    return _catalogue(language(request)).gettext(message)


# --- a page -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    href: str
    label: str
    current: bool
    count: int = 0


def _navigation(request: Request, actor: Actor | None, overdue: int = 0) -> list[Entry]:
    if actor is None or actor.function is Function.VICTIM:
        return []
    f = actor.function
    known = [
        ("/", texts._("Worklist"), True),
        ("/scan", texts._("Scan"), f in PERMISSIONS["handover.accept"]),
        ("/register", texts._("Register"), f in PERMISSIONS["kit.register"]),
        ("/alarms", texts._("Overdue"), f in PERMISSIONS["alarm.read"]),
        ("/notices", texts._("Notices"), f in PERMISSIONS["notice.attempt"]),
        ("/disposals", texts._("Disposals"), f in (Function.CUSTODIAN, Function.COORDINATOR)),
        ("/outage", texts._("Outage"), f in PERMISSIONS["numbers.reserve"]),
        ("/ask", texts._("Ask for evidence"), f in PERMISSIONS["request.send"]),
        ("/readings", texts._("Readings"), f in PERMISSIONS["reads.read"]),
        ("/policies", texts._("Policies"), f in PERMISSIONS["policy.read"]),
        ("/check", texts._("Check"), f in PERMISSIONS["check.read"]),
        ("/log", texts._("Log"), f in PERMISSIONS["receipt.prove"]),
    ]
    here = request.url.path
    counts = {"/alarms": overdue}  # known where they were looked for
    return [
        Entry(h, translated(request, label), here == h, counts.get(h, 0))
        for h, label, shown in known
        if shown
    ]


@dataclass(frozen=True, slots=True)
class Waited:
    """What waits for a signature; ``signer`` is the name of who was asked, where it is one person."""

    until: datetime
    signer: str | None = None


async def page(
    request: Request,
    template: str,
    *,
    title: str,
    who: edge.Signed | None = None,
    status: int = 200,
    problem: Problem | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page. What was recorded a moment ago (``?done=``) is read back from the events."""
    receipts, waited = await _just_done(request, who)
    actor = who.actor if who and who.actor.function is not Function.VICTIM else None
    context = {
        "title": title,
        "actor": actor,
        "demo": edge.settings(request).demo,
        "form_token": (who.csrf or "") if who else "",
        "navigation": _navigation(request, actor, values.get("overdue_count", 0)),
        "receipts": receipts,
        "waiting": waited,
        "problem": problem,
        "faults": faults_of(request, problem) if problem else [],
        "reasons": reasons_of(actor.function) if actor else (),
        "texts": texts,
        **values,
    }
    body = _environment(language(request)).get_template(template).render(context)
    return HTMLResponse(body, status_code=status)


@dataclass(frozen=True, slots=True)
class Shown:
    """A receipt with its trail in words."""

    type: str
    trail_words: str
    number: int
    recorded_at: datetime
    digest: str


_RECEIPTS: Final = text(
    "SELECT subject, number, encode(digest, 'hex') AS digest, recorded_at, type"
    " FROM custody.receipts(:author, :key)"
)


async def _just_done(request: Request, who: edge.Signed | None) -> tuple[list[Shown], Waited | None]:
    key, proposal = request.query_params.get("done"), request.query_params.get("waiting")
    if who is None or who.actor.function is Function.VICTIM or not (key or proposal):
        return [], None
    async with seen_by(edge.service(request).engine, who.actor) as connection:
        rows = await connection.execute(_RECEIPTS, {"author": who.actor.author, "key": key or ""})
        receipts = [
            Shown(r.type, trail_words(request, r.subject), r.number, r.recorded_at, r.digest) for r in rows
        ]
        waiting = await reading.proposal(connection, proposal) if proposal else None
        if waiting is None or waiting["signed_at"] is not None:
            return receipts, None
        signer = waiting["signer"]
        names = await reading.names_of(connection, [signer]) if signer else {}
    return receipts, Waited(waiting["until"], names.get(signer))


def trail_words(request: Request, subject: str) -> str:
    """A trail as people call it."""
    kind, _, rest = subject.partition(":")
    if kind == "custody":
        return translated(request, texts._("custody trail of {kit}")).format(kit=kit_written(rest))
    if kind == "choices":
        return translated(request, texts._("choices trail of {kit}")).format(kit=kit_written(rest))
    known = {
        "organisation": texts._("trail of the organisation"),
        "place": texts._("trail of the place"),
        "request": texts._("trail of the request"),
        "policy": texts._("trail of the policy {name}"),
        "person": texts._("trail of the person"),
    }
    return translated(request, known.get(kind, texts._("trail"))).format(name=rest)


def new_key() -> str:
    """A name for one act: 128 random bits."""
    return secrets.token_urlsafe(16)


def to(path: str, **query: str) -> RedirectResponse:
    """Go to another page after a form (303)."""
    return RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), status_code=303)


def inside(address: str | None) -> str:
    """Where to go on after signing in: a path of this service, never another site's address."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")) or "\n" in address:
        return "/"
    return address[:500]


# --- when something does not go ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    label: str
    message: str


def faults_of(request: Request, problem: Problem) -> list[Fault]:
    """Single inputs that are wrong, unless the sentence says so already."""
    found = []
    said = problem.says(str)
    for fault in problem.faults:
        if fault.message == said:
            continue
        name = next((p for p in reversed(fault.field.split(".")) if not p.isdigit()), "")
        label = texts.FIELDS.get(name, "")
        found.append(Fault(translated(request, label) if label else "", fault.message))
    return found


async def _again(request: Request, problem: Problem) -> Response:
    """Leads through the provider and back. A page that was only opened goes there by itself: with a header,
    because a form may lead to our own pages alone (Content-Security-Policy), and a redirect is part of it.
    """
    address = f"/sign-in/again?{urlencode({'next': _came_from(request)})}"
    shown = await page(
        request,
        "again.html",
        title=translated(request, problem.title),
        status=problem.status,
        shown=problem,
        address=address,
        lost=request.method not in edge.SAFE,
        who=getattr(request.state, "signed", None),
    )
    if request.method in edge.SAFE:
        shown.headers["refresh"] = f"0; url={address}"
    return shown


async def ask_why(
    request: Request, who: edge.Signed, number: str, problem: Problem | None = None, *, then: str = ""
) -> Response:
    """The reasons that this person can state for opening a kit; ``then`` is the page that is opened for it.

    The same page whether there is such a kit or not.
    """
    return await page(
        request,
        "purpose.html",
        title=translated(request, texts._("Why do you open this kit?")),
        who=who,
        status=problem.status if problem else 200,
        unsaid=problem.says(lambda sentence: translated(request, sentence)) if problem else "",
        number=number,
        then=then,
        staff=who.actor.function in STAFF,
        scans=SCAN in PURPOSES_OF.get(who.actor.function, ()),
    )


def _unasked(request: Request, problem: Problem) -> str | None:
    """The number of the kit that a page was refused for want of a purpose; None for another refusal."""
    if problem.message not in UNTRUE:
        return None
    first, _, rest = request.url.path.removeprefix("/kits/").partition("/")
    on_page = first if request.url.path.startswith("/kits/") and rest else None
    return str(problem.values["kit"]) if "kit" in problem.values else on_page


def _came_from(request: Request) -> str:
    """The page that was asked for, or whose form was sent: a path of this service."""
    if request.method in edge.SAFE:
        return inside(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    sent_from = urlsplit(request.headers.get("referer", ""))
    return inside(sent_from.path + (f"?{sent_from.query}" if sent_from.query else ""))


def _without_purpose(address: str) -> str:
    """The page without the purpose that was not true: the one that is stated now holds for it."""
    path, _, query = address.partition("?")
    kept = [(name, word) for name, word in parse_qsl(query) if name != "for"]
    return path + (f"?{urlencode(kept)}" if kept else "")


async def problem_page(request: Request, problem: Problem) -> Response:
    """A problem for people who read pages; nobody signed in is shown the way to sign in."""
    if problem.kind == "sign-in-too-old":
        return await _again(request, problem)
    if problem.kind == "not-signed-in" and request.method in edge.SAFE:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.url.path.startswith("/v"):
            return RedirectResponse("/v", status_code=303)
        return RedirectResponse(f"/sign-in?next={quote(path, safe='')}", status_code=303)
    signed, number = getattr(request.state, "signed", None), _unasked(request, problem)
    if signed is not None and number is not None and reasons_of(signed.actor.function):
        return await ask_why(request, signed, number, problem, then=_without_purpose(_came_from(request)))
    return await page(
        request,
        "problem.html",
        title=translated(request, _heading(problem)),
        status=problem.status,
        shown=problem,
        advice=_advice(request, problem),
        faults=faults_of(request, problem),
        glass=_may_break(request, problem),
        who=getattr(request.state, "signed", None),
    )


def _advice(request: Request, problem: Problem) -> tuple[str, ...]:
    if problem.status == 404 and not _of_kit(problem):
        return NO_SUCH_PAGE
    return ADVICE.get(problem.status, USUAL_ADVICE)


def _of_kit(problem: Problem) -> bool:
    """Whether a kit was asked for and is not found, and not an address that there is for no kit."""
    return problem.message == str(NotSeen())


def _may_break(request: Request, problem: Problem) -> bool:
    """Whether the glass is offered: to staff, wherever a kit is not found, whether there is one or not."""
    who = getattr(request.state, "signed", None)
    asked = request.url.path.startswith(ABOUT_KITS) and _of_kit(problem)
    return asked and who is not None and may("kit.break_glass", who.actor)
