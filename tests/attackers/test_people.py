"""Attackers among people: who finds a card, police and justice, staff of the centre."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from audit import log, sign
from audit.keybox import create_keys, open_box
from audit.proof import Proof
from audit.sign import Signer
from custody.commands import ApproveDisposal, ProposeDisposal
from custody.event import Fact
from custody.people import Actor, Function
from custody.protocol import Retention
from custody.refusal import Refused
from retention.disposal import approve, carry_out, propose
from tests.attackers.claims import COULD, COULD_NOT, claim
from tests.conftest import Engines
from tests.custody.byhand import ByHand
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICER,
    begin,
    new_number,
)
from tests.desk.conftest import Desk, Person, new_kit, refs
from tests.labels.scanners import pdf_texts
from tests.retention.kept import OBSERVER, adopt, destroyed, kept_until_expired, whole

Advance = Callable[[timedelta], None]

pytestmark = pytest.mark.anyio

FINDER = "somebody who finds a victim's card"
JUSTICE = "an officer or magistrate"
STAFF = "a member of staff of the centre"

SAYS_WHAT_IT_IS_FOR = re.compile(
    r"assault|violen|rape|sexual|abuse|victim|police|evidence|custody|forensic|hospital|\bkit\b", re.I
)


class Finder:
    """Somebody with a browser and a card that is not theirs."""

    def __init__(self, desk: Desk) -> None:
        self.client = desk.client(origin=desk.base_url)

    def enter(self, code: str, secret: str) -> httpx.Response:
        return self.client.post("/v", data={"code": code, "secret": secret})

    def wish(self, what: str) -> httpx.Response:
        """Press the button of a wish on the page that the card opened."""
        (form,) = [
            part for part in self.client.get("/v/kit").text.split("<form") if f'value="{what}"' in part
        ]
        hidden = dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', form))
        return self.client.post("/v/kit", data=hidden | {"sure": "yes"})


def found(desk: Desk) -> tuple[str, str, str]:
    """Number of a kit, code of its card, and the second secret that stands nowhere on it."""
    made = desk.at(NURSE).register(desk.now(), card="issued")
    return made["kit"], made["card"]["code"], made["card"]["secret"]


def types_of(desk: Desk, kit: str) -> list[str]:
    trail = desk.at(NURSE).get(f"kits/{kit}/choices-trail", purpose="review").json()
    return [event["type"] for event in trail["events"]]


def wait_of(desk: Desk) -> float:
    """Seconds for which this card takes no further guess."""
    with desk.database.connect("superuser") as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM refused_until - last_at) FROM desk.attempt"
            " WHERE purpose = 'card_secret'"
        ).fetchone()
    assert row is not None
    return float(row[0])


# --- a card that was found --------------------------------------------------------------------------


@claim(FINDER, COULD, "try the second secret a few times, then wait longer each time")
@claim(FINDER, COULD_NOT, "see anything without the second secret")
def test_whoever_finds_a_card_guesses_slower_and_slower_and_sees_nothing(
    desk: Desk, advance: Advance
) -> None:
    kit, code, secret = found(desk)
    finder = Finder(desk)
    before, reads = desk.count("event"), desk.count("access")
    waits: list[float] = []
    for guess in (f"{n:08}" for n in range(100) if f"{n:08}" != secret.replace(" ", "")):
        answer = finder.enter(code, guess)
        assert answer.status_code in (409, 429)
        assert not any(known in answer.text for known in (kit, "Kept for you"))
        if answer.status_code == 429:
            waits.append(wait_of(desk))
            if len(waits) == 4:
                break
            advance(timedelta(seconds=waits[-1]))
    assert waits == sorted(set(waits)), "each wait is longer than the one before"
    assert finder.client.get("/v/kit").status_code == 401
    assert (desk.count("event"), desk.count("access")) == (before, reads)


@claim(FINDER, COULD_NOT, "learn from the card, or from the page behind it, what it is for")
def test_neither_the_card_nor_the_page_behind_it_says_what_it_is_for(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    _, code, _ = found(desk)
    cookie = nurse.client.post("/session").headers["set-cookie"].partition(";")[0]
    browser = desk.client(cookie=cookie, origin=desk.base_url)
    form = {"card_code": code, "form_token": browser.get("/api/me").json()["form_token"]}
    printed = browser.post("/card", data=form)
    assert printed.headers["content-type"] == "application/pdf", printed.text
    (said,) = pdf_texts(printed.content)
    assert code in said
    for text in (said, Finder(desk).client.get("/v").text, Finder(desk).enter(code, "00000000").text):
        assert not SAYS_WHAT_IT_IS_FOR.search(text), SAYS_WHAT_IT_IS_FOR.search(text)


@claim(FINDER, COULD, "with the second secret: see how the kit stands, and ask for its protection")
@claim(FINDER, COULD_NOT, "destroy anything, even with both")
def test_card_and_secret_protect_at_once_and_destroy_nothing(desk: Desk, advance: Advance) -> None:
    kit, code, secret = found(desk)
    finder = Finder(desk)
    assert finder.enter(code, secret).headers["location"] == "/v/kit"
    assert "Kept for you until" in finder.client.get("/v/kit").text
    assert finder.wish("destruction.ask").headers["location"].startswith("/v/kit")
    advance(timedelta(days=60))
    shown = desk.at(NURSE).get(f"kits/{kit}", purpose="task").json()
    assert (shown["retention"], {p["state"] for p in shown["packages"].values()}) == ("running", {"sealed"})
    with ByHand(desk.database) as byhand:  # nor past the page: two staff have to confirm
        card = Actor(function=Function.VICTIM, card=kit)
        fact = Fact(type="seal.checked", subject=f"choices:{kit}", who=card.who(), fields={})
        event = byhand.event(fact, type="destruction.confirmed", until="2099-01-01T00:00:00.000000Z")
        with pytest.raises(psycopg.Error, match="not for the victim to write"):
            byhand.append(card, [event], {kit: byhand.kit(kit)})
    assert finder.enter(code, secret).status_code == 303
    assert finder.wish("hold.place").headers["location"].startswith("/v/kit")
    assert types_of(desk, kit)[-2:] == ["destruction.requested", "hold.placed"]


# --- police and justice -----------------------------------------------------------------------------

ASKED = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}


@claim(JUSTICE, COULD, "ask for evidence (an officer), and be told *received*")
def test_an_officer_who_asks_is_told_received_and_nothing_else(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    for order in (ASKED, ASKED | {"kit": kit}, ASKED | {"kit": new_number()}):
        told = desk.at(OFFICER).post("requests", order)
        assert (told.status_code, told.json()["answer"]) == (202, "received")
        assert set(told.json()) == {"answer", "receipts"}


@claim(
    JUSTICE,
    COULD_NOT,
    "learn whether a kit that nobody reported exists: its number is answered like one that never existed",
)
@pytest.mark.parametrize("asker", [OFFICER, MAGISTRATE], ids=lambda a: str(a.person))
def test_a_kit_that_nobody_reported_is_answered_like_a_number_that_never_existed(
    desk: Desk, asker: Actor
) -> None:
    kit, never = desk.at(NURSE).register(desk.now())["kit"], new_number()
    person = desk.at(asker)

    def told(answer: httpx.Response) -> tuple[Any, ...]:
        body = answer.text.replace(answer.headers["custody-reference"], "REFERENCE")
        headers = {k: v for k, v in answer.headers.items() if k not in ("date", "custody-reference")}
        return answer.status_code, headers, body

    def asked(path: str, order: dict[str, Any] | None) -> list[httpx.Response]:
        if order is None:
            return [person.client.get("/api/" + path.format(n)) for n in (kit, never)]
        return [person.post(path, order | {"kit": n, "packages": refs(n, 1)}) for n in (kit, never)]

    hold = {"ground": "magistrate", "reason": "to find out"}
    for path, order, answered in (
        ("kits/{}?purpose=court", None, 404),
        ("kits/{}/custody-trail?purpose=court", None, 404),
        ("kits/{}/choices-trail?purpose=court", None, 403),
        ("scan?code={}", None, 404),
        ("holds", hold, 422),
        ("hand-overs/acceptances", {}, 422),
    ):
        there, nowhere = asked(path, order)
        assert told(there) == told(nowhere), path
        assert there.status_code in (answered, 403), there.text
    assert person.get("kits", purpose="court").json()["kits"] == []


@claim(
    JUSTICE, COULD, "count, from the proofs of own receipts, how many events the whole log took in between"
)
async def test_proofs_of_own_receipts_count_the_events_of_everybody_between_them(
    desk: Desk, engines: Engines
) -> None:
    officer = desk.at(OFFICER)
    path = desk.settings.keys / "events.key"
    create_keys(path, desk.settings.origin)
    with open_box(path) as box:
        await sign.initialise(engines.clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(engines.clerk)
        first = await proved(officer, engines, signer)
        recorded = len(desk.at(NURSE).register(desk.now())["receipts"])
        second = await proved(officer, engines, signer)
    assert second.index - first.index - 1 == recorded


async def proved(officer: Person, engines: Engines, signer: Signer) -> Proof:
    """The proof of a new request of the police."""
    (receipt,) = officer.post("requests", ASKED).json()["receipts"]
    async with engines.clerk.begin() as transaction:
        await log.integrate(transaction, "events")
    await signer.sign(engines.clerk)
    return Proof.read(officer.get(f"receipts/{receipt['digest']}").content)


# --- staff ------------------------------------------------------------------------------------------


@claim(STAFF, COULD, "record something untrue under the own name, which stays on record")
@claim(STAFF, COULD_NOT, "change or remove an event")
def test_an_untruth_stays_on_record_under_the_name_of_who_recorded_it(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    untrue = {"packages": refs(kit, 1, condition="intact")}  # nobody looked
    (receipt,) = nurse.post("packages/check-seal", untrue).json()["receipts"]
    before = bytes_of(desk)
    correction = {"kit": kit, "digest": receipt["digest"], "reason": "I did not look"}
    assert nurse.post("corrections", correction).status_code == 201
    for method in ("PUT", "PATCH", "DELETE"):
        for path in ("kits/{}", "kits/{}/custody-trail", "receipts/{}", "corrections/{}"):
            there = f"/api/{path.format(kit if 'kits' in path else receipt['digest'])}"
            assert nurse.client.request(method, there).status_code in (404, 405)
    assert bytes_of(desk)[: len(before)] == before
    trail = nurse.get(f"kits/{kit}/custody-trail", purpose="review").json()["events"]
    assert [(e["type"], e["event"]["who"]["name"]) for e in trail[-2:]] == [
        ("seal.checked", NURSE.name),
        ("event.corrected", NURSE.name),
    ]


def bytes_of(desk: Desk) -> list[tuple[Any, ...]]:
    """The bytes of all events, in the order in which they were recorded."""
    with desk.database.connect("superuser") as connection:
        return connection.execute(
            "SELECT bytes FROM custody.event ORDER BY recorded_at, subject, number"
        ).fetchall()


@claim(STAFF, COULD_NOT, "act in another's name")
def test_whatever_is_sent_the_event_names_who_is_signed_in(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    order = {"packages": refs(kit, 1, condition="intact")}
    for more in ({"who": NURSE_2.who()}, {"actor": NURSE_2.context()}, {"person": NURSE_2.person}):
        assert nurse.post("packages/check-seal", order | more).status_code == 422
    assert (
        nurse.post("packages/check-seal", order, custody_function=f"coordinator@{CENTRE}").status_code == 403
    )
    issuer = desk.service.local_issuer
    assert issuer is not None
    head, _, signature = issuer.issue(str(NURSE.person), desk.now()).split(".")
    _, others, _ = issuer.issue(str(NURSE_2.person), desk.now()).split(".")
    forged = Person(client=desk.client(authorization=f"Bearer {head}.{others}.{signature}"))
    assert forged.post("packages/check-seal", order).status_code == 401
    assert nurse.post("packages/check-seal", order).status_code == 201
    last = nurse.get(f"kits/{kit}/custody-trail", purpose="review").json()["events"][-1]["event"]
    assert (last["who"]["person"], last["type"]) == (NURSE.person, "seal.checked")


@claim(STAFF, COULD_NOT, "sign twice as two people, even with two functions")
def test_one_person_with_two_functions_is_still_one_signature(desk: Desk) -> None:
    desk.record(
        "person.appointed",
        f"person:{NURSE.person}",
        **{"id": str(NURSE.person), "organisation": CENTRE, "function": "coordinator", "from": "2020-01-01"},
    )
    nurse = desk.at(NURSE)
    as_nurse, as_coordinator = f"nurse@{CENTRE}", f"coordinator@{CENTRE}"
    kit = nurse.post("kits", new_kit(desk.now()), custody_function=as_nurse).json()["kit"]
    empty = {"package": 4, "kind": "bag", "storage": "dry"}
    supplement = {"kit": kit, "brought_by": "victim", "packages": [empty]}
    assert nurse.post("kits/supplements", supplement, custody_function=as_nurse).status_code == 201
    void = {"packages": [{"kit": kit, "package": 4}], "reason": "registered twice"}
    waiting = nurse.post("packages/void", void, custody_function=as_nurse)
    assert waiting.status_code == 202, waiting.text
    own = nurse.post(
        f"proposals/{waiting.json()['proposal']}/signatures", None, custody_function=as_coordinator
    )
    assert (own.status_code, "another person" in own.json()["detail"]) == (409, True)
    signed = desk.at(NURSE_2).post(f"proposals/{waiting.json()['proposal']}/signatures", None)
    assert signed.status_code == 201, signed.text


@claim(STAFF, COULD_NOT, "dispose of a kit alone")
async def test_one_person_in_every_function_disposes_of_nothing(engines: Engines, advance: Advance) -> None:
    story = await begin(engines.service, engines.clerk)
    await adopt(story)
    number = await kept_until_expired(story, advance)
    alone = replace(CUSTODIAN, function=Function.COORDINATOR)
    mine = ProposeDisposal(kit=number)
    await story.do(CUSTODIAN, [number], lambda s: propose(s.kit(number), mine, CUSTODIAN, s.at))
    own = ApproveDisposal(kit=number)
    with pytest.raises(Refused, match="another person has to approve"):
        await story.do(alone, [number], lambda s: approve(s.kit(number), own, alone, s.at))
    await story.do(COORDINATOR, [number], lambda s: approve(s.kit(number), own, COORDINATOR, s.at))
    for actor, observer in ((CUSTODIAN_2, CUSTODIAN_2), (COORDINATOR, OBSERVER), (CUSTODIAN_2, COORDINATOR)):
        acting = replace(actor, function=Function.CUSTODIAN)
        with pytest.raises(Refused):
            carry_out(await story.look(CUSTODIAN_2, number), whole(number), acting, observer, COORDINATOR)
    assert (await story.kit(number)).retention is Retention.APPROVED
    receipts = await destroyed(story, number)
    assert receipts[0].type == "disposal.carried_out"
