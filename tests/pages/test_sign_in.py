"""People sign in to the pages at their own organisation's provider: two real ones, and a real browser."""

import asyncio
import hashlib
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from playwright.sync_api import Page

from desk.duty_sheet import make
from desk.pending import cookie_name
from tests.conftest import Database
from tests.custody.story import CENTRE, ZONE
from tests.desk.conftest import Desk, _people, running, settings_for
from tests.desk.hostile import ec_key, public_jwk, rsa_key
from tests.desk.provider.real import SECRET, RealProvider, client, client_key_pem, kept, packages
from tests.labels.scanners import pdf_texts
from tests.pages.conftest import Pages, Visitor
from tests.pages.doings import register

REFUSED = "You were not signed in"
PEOPLE = {
    "wanda": ("Wanda Waak", "hospital", ((CENTRE, "nurse"),)),
    "kaat": ("Kaat Kompas", "hospital", ((CENTRE, "coordinator"), (CENTRE, "custodian"))),
    "otto": ("Otto Ochtend", "police", ((ZONE, "officer"),)),
}


@dataclass(kw_only=True)
class Houses:
    """The two organisations' providers."""

    hospital: RealProvider
    police: RealProvider

    @property
    def both(self) -> tuple[RealProvider, RealProvider]:
        return self.hospital, self.police


@pytest.fixture
def houses() -> Iterator[Houses]:
    """Two providers, started by `desk`, which they must know."""
    made = Houses(
        hospital=RealProvider(word="hospital", packages=Path(), clients=(), key=rsa_key("hospital")),
        police=RealProvider(word="police", packages=Path(), clients=(), key=ec_key("police")),
    )
    yield made
    for each in made.both:
        each.stop()


@pytest.fixture
def desk(
    database: Database, tmp_path: Path, houses: Houses, request: pytest.FixtureRequest
) -> Iterator[Desk]:
    """A service without demo mode whose people sign in at two providers."""
    installed = packages(request.config.cache.mkdir("provider"))
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    key = {"jwks": {"keys": [public_jwk(ec_key("client"), "client-1", use="sig", alg="ES256")]}}
    proofs: dict[str, dict[str, Any]] = {
        "hospital": {"token_endpoint_auth_method": "private_key_jwt", **key},
        "police": {"token_endpoint_auth_method": "client_secret_basic", "client_secret": SECRET},
    }
    for provider, algorithm in zip(houses.both, ("RS256", "ES256"), strict=True):
        with socket.create_server(("127.0.0.1", 0)) as free:  # its address is part of what it must know of us
            provider.port = free.getsockname()[1]
        issuer = f"http://127.0.0.1:{provider.port}"
        back = f"{base_url}/sign-in/callback/{hashlib.sha256(issuer.encode()).hexdigest()[:12]}"
        ours = client("custody", back, f"{base_url}/sign-in", algorithm, **proofs[provider.word])
        other = client("canteen", back, f"{base_url}/sign-in", algorithm, **proofs[provider.word])
        provider.packages, provider.clients = installed, (ours, other)
        provider.start()
    settings = settings_for(database, tmp_path, base_url, demo=False, issuers=configuration(tmp_path, houses))
    with running(settings, database, listening) as made:
        asyncio.run(_people(database))
        for id_, (name, house, functions) in PEOPLE.items():
            known = {"issuer": getattr(houses, house).url, "login": id_}
            made.record("person.registered", f"person:{id_}", id=id_, name=name, **known)
            for organisation, function in functions:
                told = {"id": id_, "organisation": organisation, "function": function, "from": "2020-01-01"}
                made.record("person.appointed", f"person:{id_}", **told)
        yield made


def configuration(folder: Path, houses: Houses) -> Path:
    kept(folder / "client.pem", client_key_pem())
    kept(folder / "client.secret", SECRET + "\n")
    hospital: dict[str, Any] = {"client_name": "Ziekenhuis Sterrenberg", "client_key_file": "client.pem"}
    hospital |= {"client_key_id": "client-1", "organisations": [CENTRE]}
    police: dict[str, Any] = {"client_name": "Politiezone Morgenland", "client_secret_file": "client.secret"}
    police |= {"organisations": [ZONE]}
    entries = [
        {
            "issuer": provider.url,
            "audience": "https://api.custody.example",
            "algorithms": [algorithm],
            "jwks_url": f"{provider.url}/jwks",
            "client_id": "custody",
            "strong_acr": ["two-factors"],
            **more,
        }
        for provider, algorithm, more in (
            (houses.hospital, "RS256", hospital),
            (houses.police, "ES256", police),
        )
    ]
    path = folder / "issuers.json"
    path.write_text(json.dumps({"issuers": entries}))
    return path


# --- what people do ----------------------------------------------------------------------------------------


def follow(page: Page, name: str) -> None:
    """Press a link that looks like a button, and wait for the page that it leads to."""
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).first.click()


def prove(page: Page, login: str) -> None:
    """Prove to the provider who one is."""
    page.wait_for_selector("input[name='login']")
    page.fill("input[name='login']", login)
    with page.expect_navigation():
        page.get_by_role("button", name="Prove it").click()


def signed_in(pages: Pages, login: str, house: str, path: str = "/") -> Visitor:
    made = pages.visitor()
    made.go(path)
    follow(made.page, f"Sign in: {house}")
    prove(made.page, login)
    return made


def nurse_at_work(pages: Pages, path: str = "/") -> Visitor:
    return signed_in(pages, "wanda", "Ziekenhuis Sterrenberg", path)


def coordinator_at_work(pages: Pages, path: str = "/") -> Visitor:
    made = signed_in(pages, "kaat", "Ziekenhuis Sterrenberg", path)
    made.press("Work as Coordinator, Zorgcentrum Sterrenberg")
    return made


def led_back(visitor: Visitor, house: str, login: str) -> str:
    """Sign in, but stop where the provider leads back: the address with the code, not opened. Asked with the
    browser's own cookies, redirect by redirect, because a browser opens what it is led to."""
    visitor.go("/sign-in")
    follow(visitor.page, f"Sign in: {house}")
    visitor.page.wait_for_selector("input[name='login']")
    here = visitor.page.url
    asks = visitor.page.request
    answer = asks.post(here, form={"login": login}, max_redirects=0)
    while not (where := urljoin(here, answer.headers["location"])).startswith(visitor.base_url):
        answer = asks.get(where, max_redirects=0)
    return where


def at_hospital(visitor: Visitor) -> str:
    """Where a sign-in at the hospital's provider begins."""
    found = re.search(
        r"/sign-in/at/[0-9a-f]{12}", visitor.page.request.get(f"{visitor.base_url}/sign-in").text()
    )
    assert found is not None
    return visitor.base_url + found[0]


def changed(address: str, **values: str | None) -> str:
    """The same address with other values in its query; None leaves one out."""
    parts = urlsplit(address)
    query = {name: given[0] for name, given in parse_qs(parts.query).items()} | values
    return parts._replace(query=urlencode({n: v for n, v in query.items() if v is not None})).geturl()


def opens(visitor: Visitor, address: str) -> int:
    answer = visitor.page.goto(address)
    assert answer is not None
    return answer.status


def is_nobody(visitor: Visitor) -> bool:
    visitor.go("/")
    return urlsplit(visitor.page.url).path == "/sign-in"


def sessions_of(desk: Desk) -> list[dict[str, Any]]:
    with desk.database.connect("superuser") as connection:
        rows = connection.execute("SELECT to_jsonb(s) FROM desk.session s ORDER BY created_at").fetchall()
    return [row[0] for row in rows]


def let_it_age(desk: Desk) -> None:
    """Sixteen minutes pass since everybody's sign-in."""
    with desk.database.connect("superuser") as connection:
        connection.execute(
            "UPDATE desk.session SET authenticated_at = authenticated_at - interval '16 minutes'"
        )


# --- as it should be --------------------------------------------------------------------------------------


def test_a_nurse_and_an_officer_sign_in_each_at_their_own_provider(
    pages: Pages, desk: Desk, houses: Houses
) -> None:
    nurse = nurse_at_work(pages)
    assert nurse.sees("Wanda Waak")
    officer = signed_in(pages, "otto", "Politiezone Morgenland", "/log")
    assert officer.sees("Otto Ochtend")
    assert urlsplit(officer.page.url).path == "/log"
    first, second = sessions_of(desk)
    assert (first["person"], first["issuer"]) == ("wanda", houses.hospital.url)
    assert (second["person"], second["issuer"]) == ("otto", houses.police.url)
    assert (first["acr"], second["acr"]) == ("two-factors", "two-factors")
    with desk.database.connect("superuser") as connection:
        assert connection.execute("SELECT count(*) FROM desk.pending_sign_in").fetchone() == (0,)


def test_who_holds_two_functions_chooses_one_and_the_choice_is_made_once(pages: Pages) -> None:
    both = signed_in(pages, "kaat", "Ziekenhuis Sterrenberg", "/log")
    choice = both.page.locator("input[name='choice']").first.input_value()
    both.press("Work as Coordinator, Zorgcentrum Sterrenberg")
    assert urlsplit(both.page.url).path == "/log"
    assert both.sees("Coordinator")
    again = both.page.request.post(
        f"{both.base_url}/sign-in/function",
        form={"choice": choice, "function": f"custodian@{CENTRE}"},
        headers={"Origin": both.base_url, "Accept": "text/html"},
    )
    assert again.status == 403
    assert REFUSED in again.text()


def test_who_is_known_to_the_provider_but_not_to_the_register_is_not_signed_in(pages: Pages) -> None:
    stranger = signed_in(pages, "somebody", "Ziekenhuis Sterrenberg")
    assert stranger.sees(REFUSED)
    assert is_nobody(stranger)


def test_the_same_login_at_the_other_provider_is_another_person(pages: Pages) -> None:
    double = signed_in(pages, "wanda", "Politiezone Morgenland")
    assert double.sees(REFUSED)
    assert is_nobody(double)


def test_a_provider_that_refuses_is_shown_in_our_words_alone(
    pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    nobody = signed_in(pages, "", "Ziekenhuis Sterrenberg")
    assert nobody.sees(REFUSED)
    assert "CANARY" not in nobody.page.content()
    assert "the provider refused" in caplog.text
    assert "CANARY" not in caplog.text


def test_signing_out_here_signs_out_at_the_provider_too(pages: Pages) -> None:
    nurse = nurse_at_work(pages)
    nurse.press("Sign out")
    nurse.page.wait_for_selector("text=Sign out here")
    follow(nurse.page, "Sign out here")
    assert nurse.page.url == f"{nurse.base_url}/sign-in"
    assert is_nobody(nurse)
    follow(nurse.page, "Sign in: Ziekenhuis Sterrenberg")
    assert nurse.page.locator("input[name='login']").count() == 1, "the provider asks again"


def test_while_the_provider_is_down_who_is_signed_in_works_on_and_others_are_told(
    pages: Pages, houses: Houses, desk: Desk, advance: Callable[[timedelta], None]
) -> None:
    nurse = nurse_at_work(pages)
    houses.hospital.stop()
    houses.police.stop()
    assert nurse.go("/register") == 200
    other = pages.visitor()
    other.go("/sign-in")
    follow(other.page, "Sign in: Politiezone Morgenland")
    assert other.sees("The sign-in page of Politiezone Morgenland cannot be reached now.")
    nurse.go("/")
    nurse.press("Sign out")
    assert nurse.sees("You are signed out here") or "chrome-error" in nurse.page.url
    assert sessions_of(desk)[0]["revoked_at"] is not None


@pytest.fixture
def sheet(desk: Desk, tmp_path: Path) -> str:
    """What the sheet of the centre's duty credential says; made before there is a browser."""
    settings = replace(desk.settings, clerk_database_url=desk.database.url("clerk"))
    make(settings, CENTRE, tmp_path / "sheet.pdf")
    return "".join(pdf_texts((tmp_path / "sheet.pdf").read_bytes()))


def test_with_the_provider_down_the_sealed_envelope_keeps_the_night_going(
    sheet: str, pages: Pages, houses: Houses
) -> None:
    code = re.search(r"(?:[0-9A-Z]{5}-){4}[0-9A-Z]{5}", sheet)
    assert code is not None
    coordinator = coordinator_at_work(pages)
    houses.hospital.stop()
    nurse = pages.visitor()
    nurse.go("/register")
    with nurse.page.expect_navigation():
        nurse.page.get_by_role("link", name="use the centre's duty credential").click()
    nurse.choose(centre=CENTRE)
    nurse.fill(code=code[0].lower())
    nurse.press("Go on")
    nurse.choose(person="wanda|nurse")
    nurse.check(reason="provider_down")
    nurse.press("Sign in")
    assert urlsplit(nurse.page.url).path == "/register"
    kit = register(nurse)
    assert nurse.go(f"/kits/{kit}?for=task") == 200
    coordinator.go("/")
    assert coordinator.sees("The duty credential of your centre was opened.")
    with coordinator.page.expect_navigation():
        coordinator.page.get_by_role("link", name="Review it").click()
    assert coordinator.sees("Wanda Waak")


def test_after_the_provider_took_another_key_people_sign_in_with_the_new_one(
    pages: Pages, houses: Houses, advance: Callable[[timedelta], None]
) -> None:
    advance(timedelta(seconds=-20))
    nurse_at_work(pages)
    houses.hospital.rotate(rsa_key("hospital, later"), "second")
    advance(timedelta(seconds=35))  # an issuer is asked for its keys at most twice a minute
    assert nurse_at_work(pages).sees("Wanda Waak")


# --- as an attacker would have it -------------------------------------------------------------------------


def test_a_wrong_state_signs_nobody_in(pages: Pages) -> None:
    visitor = pages.visitor()
    address = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    for state in ("A" * 43, "", "x", None):
        assert opens(visitor, changed(address, state=state)) == 403
        assert visitor.sees(REFUSED)
    assert is_nobody(visitor)


def test_a_code_that_was_used_signs_nobody_in_again(pages: Pages) -> None:
    visitor = pages.visitor()
    address = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    assert opens(visitor, address) == 200
    assert visitor.sees("Wanda Waak")
    visitor.page.context.clear_cookies(name="custody")
    assert opens(visitor, address) == 403
    assert is_nobody(visitor)


def test_a_code_that_the_provider_saw_already_is_not_taken_with_a_fresh_state(pages: Pages) -> None:
    visitor = pages.visitor()
    used = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    assert opens(visitor, used) == 200
    other = pages.visitor()
    fresh = led_back(other, "Ziekenhuis Sterrenberg", "wanda")
    code = parse_qs(urlsplit(used).query)["code"][0]
    assert opens(other, changed(fresh, code=code)) == 403
    assert is_nobody(other)


def test_a_sign_in_that_another_browser_began_signs_nobody_in_here(pages: Pages) -> None:
    attacker, victim = pages.visitor(), pages.visitor()
    address = led_back(attacker, "Ziekenhuis Sterrenberg", "kaat")
    assert opens(victim, address) == 403
    assert victim.sees(REFUSED)
    assert is_nobody(victim)
    led_back(victim, "Ziekenhuis Sterrenberg", "wanda")  # now with a cookie of its own
    assert opens(victim, address) == 403
    assert is_nobody(victim)


def test_a_code_of_another_browser_is_not_taken_under_ones_own_state(pages: Pages) -> None:
    attacker, victim = pages.visitor(), pages.visitor()
    stolen = parse_qs(urlsplit(led_back(victim, "Ziekenhuis Sterrenberg", "kaat")).query)["code"][0]
    own = led_back(attacker, "Ziekenhuis Sterrenberg", "wanda")
    assert opens(attacker, changed(own, code=stolen)) == 403
    assert is_nobody(attacker)


@pytest.mark.parametrize("name", ["nonce", "code_challenge", "client_id"])
def test_what_was_changed_on_the_way_to_the_provider_signs_nobody_in(pages: Pages, name: str) -> None:
    """Another nonce, another challenge, another client of the same provider (its tokens' audience)."""
    visitor = pages.visitor()
    planted = {"nonce": "planted", "code_challenge": "A" * 43, "client_id": "canteen"}[name]
    begun = visitor.page.request.get(at_hospital(visitor), max_redirects=0)
    visitor.page.goto(changed(begun.headers["location"], **{name: planted}))
    prove(visitor.page, "wanda")
    assert visitor.sees(REFUSED)
    assert is_nobody(visitor)


def test_the_answer_of_one_provider_is_not_taken_for_the_others(pages: Pages, houses: Houses) -> None:
    visitor, attacker = pages.visitor(), pages.visitor()
    hospital = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    police = led_back(attacker, "Politiezone Morgenland", "otto")
    at_police = urlsplit(police).path
    for mixed in (
        changed(hospital, iss=houses.police.url),
        changed(hospital, iss=None),
        changed(hospital, iss=houses.hospital.url + "/"),
        urlsplit(hospital)._replace(path=at_police).geturl(),
        hospital + "&iss=" + houses.hospital.url,
    ):
        assert opens(visitor, mixed) == 403
        assert visitor.sees(REFUSED)
        hospital = led_back(pages_again(visitor), "Ziekenhuis Sterrenberg", "wanda")
    assert is_nobody(visitor)


def pages_again(visitor: Visitor) -> Visitor:
    """The same browser, whom the provider has forgotten, so that it asks anew."""
    visitor.page.context.clear_cookies(name=re.compile("^hospital_"))
    return visitor


def test_ten_minutes_after_its_beginning_a_sign_in_is_over(
    pages: Pages, advance: Callable[[timedelta], None]
) -> None:
    visitor = pages.visitor()
    address = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    advance(timedelta(minutes=10))
    assert opens(visitor, address) == 403
    assert is_nobody(visitor)


def test_a_session_that_was_planted_before_is_worth_nothing_after(pages: Pages, desk: Desk) -> None:
    nurse = nurse_at_work(pages)
    before = next(c for c in nurse.page.context.cookies() if c.get("name") == "custody")
    nurse.page.goto(at_hospital(nurse))
    after = next(c for c in nurse.page.context.cookies() if c.get("name") == "custody")
    assert before.get("value") != after.get("value")
    assert [row["revoked_at"] is None for row in sessions_of(desk)] == [False, True]


def test_nobody_is_led_to_another_site_after_signing_in(pages: Pages) -> None:
    for where in ("https://attacker.example/", "//attacker.example", "/\\attacker.example"):
        visitor = signed_in(
            pages, "wanda", "Ziekenhuis Sterrenberg", f"/sign-in?{urlencode({'next': where})}"
        )
        assert visitor.page.url == f"{visitor.base_url}/"


def test_the_browsers_cookie_is_out_of_reach_and_the_database_holds_no_secret(
    pages: Pages, desk: Desk
) -> None:
    visitor = pages.visitor()
    address = led_back(visitor, "Ziekenhuis Sterrenberg", "wanda")
    cookie = next(c for c in visitor.page.context.cookies() if c.get("name") == "custody-sign-in")
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Lax", "/")
    assert cookie_name(https=True) == "__Host-custody-sign-in"
    with desk.database.connect("superuser") as connection:
        (row,) = connection.execute("SELECT p::text FROM desk.pending_sign_in p").fetchall()
    state = parse_qs(urlsplit(address).query)["state"][0]
    assert state not in row[0]
    assert str(cookie.get("value")) not in row[0]


# --- for what cannot be undone ----------------------------------------------------------------------------


def test_what_cannot_be_undone_leads_through_the_provider_again_and_back(pages: Pages, desk: Desk) -> None:
    kit = register(nurse_at_work(pages))
    coordinator = coordinator_at_work(pages)
    step = f"/do/disposal.approve?kit={kit}"
    assert coordinator.go(step) == 200
    let_it_age(desk)
    assert coordinator.go(f"/kits/{kit}?for=task") == 200, "everything else goes on"
    coordinator.page.goto(coordinator.base_url + step)
    prove(coordinator.page, "kaat")
    assert coordinator.page.url == coordinator.base_url + step
    assert coordinator.sees("Coordinator")
    assert coordinator.page.locator("form[action='/do/disposal.approve']").count() == 1


def test_one_factor_signs_in_and_is_not_enough_for_what_cannot_be_undone(
    pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    kit = register(nurse_at_work(pages))
    coordinator = signed_in(pages, "kaat/password", "Ziekenhuis Sterrenberg")
    coordinator.press("Work as Coordinator, Zorgcentrum Sterrenberg")
    assert coordinator.go(f"/kits/{kit}?for=task") == 200, "everything else asks for no strength"
    step = f"/do/disposal.approve?kit={kit}"
    coordinator.page.goto(coordinator.base_url + step)
    coordinator.page.wait_for_selector("input[name='login']")
    assert parse_qs(urlsplit(coordinator.page.url).query) == {}, "the provider's own page"
    prove(coordinator.page, "kaat/password")
    assert coordinator.sees(REFUSED)
    assert "a strong proof was asked for and not given" in caplog.text
    assert coordinator.go("/") == 200
    assert coordinator.sees("Kaat Kompas"), "the session from before goes on"
    coordinator.page.goto(coordinator.base_url + step)
    prove(coordinator.page, "kaat")
    assert coordinator.page.url == coordinator.base_url + step


def test_an_export_with_an_old_sign_in_is_not_made_and_the_way_back_is_to_its_page(
    pages: Pages, desk: Desk
) -> None:
    kit = register(nurse_at_work(pages))
    coordinator = coordinator_at_work(pages, f"/kits/{kit}?for=task")
    let_it_age(desk)
    where = coordinator.page.url
    form = coordinator.page.locator(f"form[action='/kits/{kit}/bundle']")
    with coordinator.page.expect_navigation():
        form.evaluate("form => form.submit()")
    assert coordinator.sees("Nothing was recorded.")
    follow(coordinator.page, "Sign in once more")
    prove(coordinator.page, "kaat")
    assert coordinator.page.url == where


def test_the_api_says_how_recent_a_sign_in_is_asked_for(pages: Pages, desk: Desk) -> None:
    kit = register(nurse_at_work(pages))
    coordinator = coordinator_at_work(pages)
    bundle = f"{coordinator.base_url}/api/kits/{kit}/bundle?purpose=court"
    assert coordinator.page.request.get(bundle).status != 401
    let_it_age(desk)
    answer = coordinator.page.request.get(bundle)
    assert answer.status == 401
    assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
    assert "max_age=900" in answer.headers["www-authenticate"]
    assert answer.json()["type"].endswith("/problems/sign-in-too-old")
