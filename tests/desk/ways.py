"""How every route of the API and of the pages is asked about a kit, and by whom.

A route that is not known here fails `test_matrix`: nobody then said whose it is.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx
from fastapi import FastAPI

from custody.number import KitNumber, Part, PartKind, label_code, next_serial, written
from custody.people import Actor, Function
from custody.permission import Relation
from desk.api.document import routes_of
from desk.doors import BY_ACTION, DOORS, Door
from desk.edge import Acting, Openly, declared
from desk.pages.doing import CHANNEL_SHOWN
from desk.session import cookie_name, form_token
from tests.custody.story import CENTRE
from tests.desk.conftest import Desk, moment, new_kit, refs
from tests.desk.matrix import PEOPLE, Case, packages_of, related, room_of, sees

OF_ITS_OWN: Final = {"date", "custody-reference"}
"""Headers that are another one in every answer: time and reference."""
_REFERENCE: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY: Final = re.compile(rb'name="key" value="[^"]*"')


# --- who asks ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Somebody at the service, or nobody (`actor` None)."""

    name: str
    actor: Actor | None
    client: httpx.Client

    @property
    def place(self) -> str:
        return room_of(self.actor.organisation) if self.actor else "nowhere"

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        headers = dict(given.pop("headers", {}))
        if not path.startswith(("/api/", "/session", "/demo", "/log/", "/healthz")):
            headers["accept"] = "text/html"
        return self.client.request(method, path, headers=headers, follow_redirects=False, **given)


def askers(desk: Desk, card: str, open_card: Callable[[str], str]) -> list[Asker]:
    """Everybody of `PEOPLE`, a victim with the card of the kit `card`, and nobody."""
    found = [
        Asker(name=f"{p.person} ({p.function}@{p.organisation})", actor=p, client=desk.at(p).client)
        for p in PEOPLE
    ]
    value = open_card(card)
    headers = {
        "cookie": f"{cookie_name(https=False)}={value}",
        "origin": desk.base_url,
        "custody-form-token": form_token(value),
    }
    victim = Actor(function=Function.VICTIM, card=card)
    found.append(Asker(name="victim with a card", actor=victim, client=desk.client(**headers)))
    found.append(Asker(name="nobody", actor=None, client=desk.client(origin=desk.base_url)))
    return found


# --- how each route is asked ------------------------------------------------------------------------------


def orders(kit: str, at: str, digest: str = "ab" * 32, place: str = "cupboard") -> dict[str, dict[str, Any]]:
    """For each command an order about this kit, as somebody would who wants to find out whether it exists."""
    packages = refs(kit, 1)
    several: dict[str, Any] = {
        "packages": packages,
        "reason": "to find out",
        "place": place,
        "organisation": CENTRE,
        "due_at": at,
        "courier": "Karel Koerier",
        "courier_organisation": "Koerier Vliegensvlug",
        "receiver": "Rita Ontvang",
        "receiver_organisation": "Elders",
        "giver": "Gerda Gever",
        "giver_organisation": "Elders",
        "signature": "ab" * 32,
        "digest": digest,
        "letter": "ab" * 32,
        "authority": "Invented court",
        "dated": "2026-01-01",
        "pv": "PV.99",
        "notice": "NO.99",
        "office": "parket-avondland",
        "zone": "pz-morgenland",
        "how": "in_person",
        "age_class": "minor",
        "ground": "safety",
        "hold": "ab" * 16,
        "request": "ab" * 16,
        "items": [1],
        "missing": True,
        "brought_by": "police",
        "package": 1,
        "into": [{"package": n, "kind": "bag", "storage": "dry", "items": [n]} for n in (8, 9)],
        "first": packages[0],
        "second": {"kit": kit, "package": 2},
        "readers": ["coraline"],
        "kits": [kit],
        "identity": "confirmed",
        "free_will": "confirmed",
        "channel": "none",
        "language": "nl",
        "document": "{}",
        "kit": kit,
    }
    made = {}
    for door in DOORS:
        names = door.shape.__dataclass_fields__
        order = {name: several[name] for name in names if name in several}
        if door.action in ("package.join",):
            order |= {"packages": [1, 2], "into": several["into"][0]}
        if door.action == "kit.supplement":
            order["packages"] = [{"package": 7, "kind": "bag", "storage": "dry"}]
        if door.action == "notice.attempt":
            order["how"] = "reached"
        if door.action == "request.answer":
            order["how"] = "match"
        if door.action == "term.move":
            order["how"] = "by_law"
        if door.action == "disposal.carry_out":
            order |= {"items": [{"kit": kit, "item": 1}], "observer": "nils"}
        if door.action == "policy.adopt":
            order = {"document": "{}"}
        made[door.path] = order
    return made


def seen(answer: httpx.Response, number: str) -> tuple[Any, ...]:
    """Everything an asker can compare; the number that was asked for is nowhere in an answer that refuses, or
    stands where it was typed."""
    body = answer.content
    for known in (number, written(KitNumber(number))):
        body = body.replace(known.encode(), b"NUMBER")
    body = _KEY.sub(b"KEY", _REFERENCE.sub(b"REFERENCE", body))
    headers = sorted(
        (k, v.replace(number, "NUMBER")) for k, v in answer.headers.items() if k not in OF_ITS_OWN
    )
    return answer.status_code, headers, body


def of_its_centre(who: Actor, case: Case) -> bool:
    return Relation.OF_CENTRE in related(who, case)


def restricted(case: Case) -> bool:
    return bool(case.readers)


def none_of_them(case: Case) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one route is asked about a kit, and which cell of the table decides.

    `says` is the action that the route declares, None for what is open to whoever is signed in, or (`open`)
    to everybody. `decides` is the action that is decided on the kit. What names no kit (`about_kits` False)
    is asked for the function alone; what looks at none (`looks` False) answers the same for every number.
    """

    name: str
    method: str
    ask: Callable[[Asker, Case], httpx.Response]
    says: str | None
    decides: str = "kit.read"
    command: bool = False
    about_kits: bool = True
    looks: bool = True
    open: bool = False
    stale: bool = False
    """Whether it names a state that no kit has (`If-Match`)."""
    nowhere: tuple[int, ...] = (404,)
    """What a number that never was is answered with."""
    known: Callable[[Actor, Case], bool] = sees
    """To whom the kit may make a difference."""
    spares: Callable[[Case], bool] = none_of_them
    """Kits it is not asked about, because it would change what others are asked about."""

    @property
    def page(self) -> bool:
        return not self.name.split()[1].startswith(("/api/", "/session", "/demo"))


KitAsk = tuple[str, str, dict[str, Any]]
FOR: Final = {"purpose": "court"}
# Method and path -> the action decided on the kit, the query or form that asks for it.
KIT_ROUTES: Final[Mapping[tuple[str, str], KitAsk]] = {
    ("GET", "/api/kits/{number}"): ("kit.read", "query", FOR),
    ("GET", "/api/kits/{number}/custody-trail"): ("custody_trail.read", "query", FOR),
    ("GET", "/api/kits/{number}/choices-trail"): ("choices_trail.read", "query", FOR),
    ("GET", "/api/kits/{number}/private"): ("private.read", "query", FOR),
    ("GET", "/api/kits/{number}/bundle"): ("custody_trail.export", "query", FOR),
    ("GET", "/api/kits/{number}/choices-bundle"): ("choices_trail.export", "query", FOR),
    ("GET", "/api/kits/{number}/labels.pdf"): ("labels.print", "query", {}),
    ("GET", "/api/kits/{number}/labels.svg"): ("labels.print", "query", {}),
    ("GET", "/api/kits/{number}/labels.png"): ("labels.print", "query", {}),
    ("GET", "/api/kits/{number}/labels.zpl"): ("labels.print", "query", {}),
    ("GET", "/api/scan"): ("kit.read", "query", {"code": "{code}"}),
    ("GET", "/kits/{number}"): ("kit.read", "query", {"for": "court"}),
    ("GET", "/kits/{number}/choices"): ("choices_trail.read", "query", {}),
    ("GET", "/kits/{number}/disposal"): ("choices_trail.read", "query", {}),
    ("GET", "/api/kits/{number}/disposal"): ("choices_trail.read", "query", FOR),
    ("GET", "/api/kits/{number}/certificate"): ("certificate.read", "query", FOR),
    ("GET", "/api/disposals/certificate"): ("certificate.read", "query", FOR | {"kit": "{number}"}),
    ("GET", "/disposals/certificate.pdf"): ("certificate.read", "query", {"kit": "{number}"}),
    ("POST", "/disposals/propose/many"): ("disposal.propose", "form", {"kit": "{number}"}),
    ("POST", "/disposals/approve/many"): ("disposal.approve", "form", {"kit": "{number}"}),
    ("GET", "/disposals/cart"): ("disposal.carry_out", "query", {"kit": "{number}"}),
    ("POST", "/disposals/cart"): ("disposal.carry_out", "form", {"kit": "{number}"}),
    ("GET", "/kits/{number}/channel"): ("private.read", "query", {"for": "court"}),
    ("POST", "/kits/{number}/channel"): ("private.read", "form", {"for": "court"}),
    ("GET", "/api/kits/{number}/channel"): ("private.read", "query", FOR),
    ("POST", "/api/kits/{number}/channel/test"): ("private.read", "query", FOR),
    ("POST", "/kits/{number}/bundle"): ("custody_trail.export", "form", FOR),
    ("POST", "/kits/{number}/choices-bundle"): ("choices_trail.export", "form", FOR),
    ("GET", "/kits/{number}/labels"): ("labels.print", "query", {}),
    ("POST", "/kits/{number}/labels"): ("labels.print", "form", {"parts": "P01", "reason": "lost"}),
    ("GET", "/scan"): ("kit.read", "query", {"code": "{code}"}),
    ("GET", "/s/{code}"): ("kit.read", "query", {}),
    ("POST", "/longer"): (
        "term.move",
        "form",
        {"kits": "{number}", "how": "by_law", "reason": "to find out"},
    ),
    ("GET", "/S/{code}"): ("kit.read", "query", {}),
}
# Routes that name a kit and look at none: the answer is the same for every number.
BLIND_ROUTES: Final[Mapping[tuple[str, str], tuple[str, dict[str, Any]]]] = {
    ("POST", "/kits/{number}"): ("form", {"purpose": "court"}),
    ("GET", "/register"): ("query", {"number": "{number}"}),
    ("GET", "/glass"): ("query", {"kit": "{number}"}),
}
# The same, for what only the kit's own centre is told of: how a number that never was is answered.
CENTRE_ROUTES: Final[Mapping[tuple[str, str], tuple[int, str, dict[str, Any]]]] = {
    ("GET", "/api/readings"): (200, "query", {"kit": "{number}"}),
    ("GET", "/readings"): (200, "query", {"kit": "{number}"}),
    ("POST", "/glass"): (404, "form", {"kit": "{number}", "reason": "readers_absent"}),
}
# Routes in which no kit is named. What lists show is compared before and after in test_invisible.
NO_KIT: Final = frozenset(
    {
        ("GET", "/api/kits"),
        ("GET", "/api/worklists"),
        ("GET", "/api/alarms"),
        ("GET", "/api/check"),
        ("GET", "/check"),
        ("GET", "/alarms"),
        ("GET", "/api/notices"),
        ("GET", "/notices"),
        ("GET", "/disposals"),
        ("GET", "/disposals/observe/{proposal}"),
        ("POST", "/disposals/observe/{proposal}"),
        ("GET", "/api/disposals/observations"),
        ("POST", "/api/disposals/observations/{proposal}"),
        ("DELETE", "/api/disposals/observations/{proposal}"),
        ("GET", "/stock-take"),
        ("GET", "/stock-take/{place}"),
        ("POST", "/stock-take/{place}/taken"),
        ("GET", "/api/proposals"),
        ("POST", "/api/proposals/{proposal}/signatures"),
        ("DELETE", "/api/proposals/{proposal}"),
        ("GET", "/api/requests"),
        ("POST", "/api/numbers"),
        ("GET", "/api/receipts/{digest}"),
        ("GET", "/api/log/key"),
        ("GET", "/api/me"),
        ("GET", "/api/organisations"),
        ("GET", "/api/places"),
        ("GET", "/api/policies"),
        ("GET", "/api/policies/longer"),
        ("GET", "/api/policies/{policy}/{version}"),
        ("GET", "/api/policies/{policy}/{version}/document"),
        ("GET", "/policies"),
        ("GET", "/policies/{policy}/{version}"),
        ("GET", "/policies/{proposal}"),
        ("GET", "/adopt-policy"),
        ("POST", "/adopt-policy"),
        ("GET", "/longer"),
        ("GET", "/api/openapi.json"),
        ("GET", "/healthz"),
        ("GET", "/log/checkpoint"),
        ("HEAD", "/log/checkpoint"),
        ("GET", "/log/tile/{place:path}"),
        ("HEAD", "/log/tile/{place:path}"),
        ("GET", "/log/reads/checkpoint"),
        ("HEAD", "/log/reads/checkpoint"),
        ("GET", "/log/reads/tile/{place:path}"),
        ("HEAD", "/log/reads/tile/{place:path}"),
        ("GET", "/"),
        ("GET", "/log"),
        ("GET", "/outage"),
        ("POST", "/outage"),
        ("GET", "/ask"),
        ("POST", "/card"),
        ("POST", "/card/renewed"),
        ("GET", "/signatures/{proposal}"),
        ("POST", "/signatures/{proposal}"),
        ("GET", "/v/kit"),
        ("POST", "/v/kit"),
        ("POST", "/api/readings/{digest}/review"),
        ("POST", "/readings/{digest}/review"),
        ("GET", "/api/duty"),
        ("POST", "/api/duty/{credential}/reviews"),
        ("GET", "/duty"),
        ("POST", "/duty"),
    }
)
# What begins or ends a session, or moves the demo's clock: it would spoil what is asked after it, and shows
# no kit. tests/desk/test_session.py, test_edge.py and test_provider.py ask these.
ELSEWHERE: Final = frozenset(
    {
        ("POST", "/session"),
        ("DELETE", "/session"),
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/sign-in/at/{key}"),
        ("GET", "/sign-in/again"),
        ("GET", "/sign-in/callback/{key}"),
        ("POST", "/sign-in/function"),
        ("POST", "/sign-out"),
        ("POST", "/demo/days"),
        ("GET", "/demo/jwks"),
        ("POST", "/demo/sign-in"),
        ("POST", "/demo/clock"),
        ("GET", "/v"),
        ("POST", "/v"),
        ("GET", "/v/leave"),
        ("GET", "/sign-in/duty"),
        ("POST", "/sign-in/duty"),
        ("POST", "/sign-in/duty/person"),
    }
)
FILLED: Final = {
    "proposal": "ab" * 16,
    "policy": "belgium",
    "version": "1",
    "digest": "cd" * 32,
    "place:path": "0/000",
    "key": "nowhere",
    "credential": "ef" * 16,
    "place": "freezer-1",
}


def _path(template: str, case: Case) -> str:
    named = FILLED | {"number": case.number, "code": case.code}
    return re.sub(r"{([\w:]+)}", lambda place: named[place[1]], template)


def _asks(
    method: str, path: str, kind: str, given: Mapping[str, Any]
) -> Callable[[Asker, Case], httpx.Response]:
    def ask(who: Asker, case: Case) -> httpx.Response:
        filled = {k: v.format(number=case.number, code=case.code) for k, v in given.items()}
        if kind == "form":
            return who.ask(method, _path(path, case), data=filled | {"key": uuid4().hex})
        return who.ask(method, _path(path, case), params=filled)

    return ask


WITHOUT_KIT: Final = frozenset({"policy.adopt"})
"""Commands that name no kit."""


def _of_door(door: Door, at: str) -> Way:
    def ask(who: Asker, case: Case) -> httpx.Response:
        order = orders(case.number, at, case.digest, who.place)[door.path]
        return who.ask("POST", f"/api/{door.path}", json=order, headers={"Idempotency-Key": uuid4().hex})

    return Way(
        name=f"POST /api/{door.path}",
        method="POST",
        ask=ask,
        says=door.action,
        decides=door.action,
        command=True,
        about_kits=door.action not in WITHOUT_KIT,
    )


def _do_pages(at: str) -> Iterator[Way]:
    for door in DOORS:
        on = packages_of(door.action)

        def form(who: Asker, case: Case, door: Door = door, on: tuple[int, ...] = on) -> dict[str, Any]:
            order = orders(case.number, at, case.digest, who.place)[door.path]
            flat = {k: v for k, v in order.items() if isinstance(v, str)} | {"kit": case.number}
            flat |= {"pv_confirmed": "PV.99"}
            for p in on:
                flat |= {f"seal:{case.number}.{p}": f"S-{p}", f"condition:{case.number}.{p}": "intact"}
            return flat | ({"p": [f"{case.number}.{p}" for p in on]} if on else {}) | {"key": uuid4().hex}

        def opened(who: Asker, case: Case, door: Door = door, on: tuple[int, ...] = on) -> httpx.Response:
            query = {"p": [f"{case.number}.{p}" for p in on]} if on else {"kit": case.number}
            return who.ask("GET", f"/do/{door.action}", params=query)

        def sent(who: Asker, case: Case, door: Door = door, form: Any = form) -> httpx.Response:
            return who.ask("POST", f"/do/{door.action}", data=form(who, case))

        reads = "private.read" if door.action in CHANNEL_SHOWN else "kit.read"
        # An answer's page is asked of a request, not of a kit; a disposal is carried out in a cart.
        if door.action not in ("request.answer", "disposal.carry_out"):
            yield Way(
                name=f"GET /do/{door.action}",
                method="GET",
                ask=opened,
                says=door.action,
                decides=reads,
                about_kits=door.action not in WITHOUT_KIT,  # its page asks for a file instead
            )
            yield Way(
                name=f"POST /do/{door.action}",
                method="POST",
                ask=sent,
                says=door.action,
                decides=door.action,
                command=True,
            )


def _registers(at: datetime) -> Iterator[Way]:
    """Two ways in which a number is typed into something that registers or asks."""

    def known(who: Asker, case: Case) -> httpx.Response:
        order = new_kit(at) | {"number": case.number}
        return who.ask("POST", "/api/kits", json=order, headers={"Idempotency-Key": uuid4().hex})

    yield Way(name="POST /api/kits", method="POST", ask=known, says="kit.register", nowhere=(422,))


def _on_state(at: str) -> Iterator[Way]:
    """A command that says on which state it was decided, where nobody can know the state: it must not tell
    whether there is one."""
    for action in ("handover.accept", "report.declare", "seal.check"):
        door = BY_ACTION[action]

        def ask(who: Asker, case: Case, door: Door = door) -> httpx.Response:
            headers = {"Idempotency-Key": uuid4().hex, "If-Match": '"' + "0" * 32 + '"'}
            order = orders(case.number, at, case.digest, who.place)[door.path]
            return who.ask("POST", f"/api/{door.path}", json=order, headers=headers)

        name = f"POST /api/{door.path} with If-Match"
        yield Way(name=name, method="POST", ask=ask, says=action, decides=action, command=True, stale=True)


def _in_json() -> Iterator[Way]:
    """What takes a body of JSON and is no command.

    Breaking the glass: of a restricted kit it would open it, so that is told in tests of its own."""

    def glass(who: Asker, case: Case) -> httpx.Response:
        return who.ask("POST", f"/api/kits/{case.number}/glass", json={"reason": "readers_absent"})

    def disclosure(who: Asker, case: Case) -> httpx.Response:
        order: dict[str, Any] = {"fields": ["hospital_reference"], "digest": "ab" * 32}
        order |= {"dated": "2026-01-01", "authority": "Invented court"}
        return who.ask("POST", f"/api/kits/{case.number}/disclosures", json=order)

    action = "private.disclose"
    name = "POST /api/kits/{number}/disclosures"
    yield Way(name=name, method="POST", ask=disclosure, says=action, decides=action)
    yield Way(
        name="POST /api/kits/{number}/glass",
        method="POST",
        ask=glass,
        says="kit.break_glass",
        decides="kit.break_glass",
        known=of_its_centre,
        spares=restricted,
    )


def _counting() -> Iterator[Way]:
    """A label scanned in a stock-take: of a kit that may not be known of it says as much as of none."""

    def ask(who: Asker, case: Case) -> httpx.Response:
        number, part = KitNumber(case.number), Part(PartKind.PACKAGE, 1)
        label = label_code(number, part, next_serial(number, part, 0))
        return who.ask("POST", f"/stock-take/{who.place}", data={"codes": label})

    action = "stock_take.take"
    yield Way(
        name="POST /stock-take/{place}", method="POST", ask=ask, says=action, decides=action, nowhere=(200,)
    )


# Asked by a way of their own above, or by a test of their own.
ALONE: Final = frozenset(
    {
        ("GET", "/do/{action}"),
        ("POST", "/do/{action}"),
        ("POST", "/api/kits"),
        ("POST", "/api/kits/{number}/glass"),
        ("POST", "/stock-take/{place}"),
        ("POST", "/api/kits/{number}/disclosures"),
        ("POST", "/api/requests"),
        ("POST", "/ask"),
        ("POST", "/register"),
        ("GET", "/outage/{number}.pdf"),
    }
)


@dataclass(frozen=True, slots=True)
class Known:
    """The ways to ask every route, and the routes that nobody said how to ask."""

    ways: tuple[Way, ...]
    unknown: tuple[str, ...]
    undeclared: tuple[str, ...]


def known_ways(app: FastAPI, now: datetime) -> Known:
    """Every route of the application, API and pages alike, as this file knows to ask it."""
    at = moment(now + timedelta(days=1))
    ways: list[Way] = [*_do_pages(at), *_registers(now), *_on_state(at), *_in_json(), *_counting()]
    unknown_, undeclared = [], []
    for route in routes_of(app):
        said = declared(route)
        if len(said) != 1:
            undeclared.append(f"{sorted(route.methods or ())} {route.path} declares no action")
        for method in sorted(route.methods or ()):
            found = _way(method, str(route.path), said[0] if said else None, at)
            if found is not None:
                ways.append(found)
            elif (method, str(route.path)) not in ELSEWHERE | ALONE:
                unknown_.append(f"{method} {route.path}")
    return Known(tuple(ways), tuple(unknown_), tuple(undeclared))


def _way(method: str, path: str, said: Acting | Openly | None, at: str) -> Way | None:
    """How this route is asked; None for one that the tables above do not have."""
    place = (method, path)
    if place in DOOR_ROUTES:
        return _of_door(DOOR_ROUTES[place], at)
    told: dict[str, Any] = {
        "name": f"{method} {path}",
        "method": method,
        "says": said.action if isinstance(said, Acting) else None,
    }
    if place in KIT_ROUTES:
        decides, kind, given = KIT_ROUTES[place]
        return Way(ask=_asks(method, path, kind, given), decides=decides, **told)
    if place in CENTRE_ROUTES:
        nowhere, kind, given = CENTRE_ROUTES[place]
        spares = restricted if method == "POST" else none_of_them
        ask = _asks(method, path, kind, given)
        decides = str(told["says"])
        return Way(ask=ask, decides=decides, nowhere=(nowhere,), known=of_its_centre, spares=spares, **told)
    if place in BLIND_ROUTES:
        kind, given = BLIND_ROUTES[place]
        return Way(ask=_asks(method, path, kind, given), looks=False, **told)
    if place in NO_KIT:
        kind = "query" if method in ("GET", "HEAD") else "form"
        return Way(ask=_asks(method, path, kind, {}), about_kits=False, open=isinstance(said, Openly), **told)
    return None


DOOR_ROUTES: Final = {("POST", f"/api/{door.path}"): door for door in DOORS}
