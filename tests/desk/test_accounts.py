"""One person with several accounts is one person, whichever they signed in with."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desk.people import register
from tests.conftest import Database
from tests.custody.story import CENTRE, NURSE_2
from tests.desk.conftest import Desk, Person, _people, running, settings_for
from tests.desk.hostile import AUDIENCE, claims, ec_key, header, public_jwk, signed

WARD, NIGHT = "https://sign-in.ward.example", "https://sign-in.night.example"


def provider(url: str) -> dict[str, Any]:
    return {
        "issuer": url,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "jwks": {"keys": [public_jwk(ec_key("good"), "ec-1")]},
        "longest_life_minutes": 20,
        "organisations": [CENTRE],
    }


def account(url: str, login: str, **more: bool) -> dict[str, Any]:
    return {"issuer": url, "login": login, **more}


NORA = {"id": "nora", "name": "Nora Nachtwacht"}
BOTH = NORA | {"accounts": [account(WARD, "n.nachtwacht"), account(NIGHT, "nachtwacht-2")]}
NILS = {"id": "nils", "name": "Nils Nevel", "accounts": [account(WARD, "n.nevel")]}


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    """A desk of which two providers sign people in."""
    (tmp_path / "issuers.json").write_text(json.dumps({"issuers": [provider(WARD), provider(NIGHT)]}))
    listening = socket.create_server(("127.0.0.1", 0))
    settings = settings_for(
        database,
        tmp_path,
        f"http://127.0.0.1:{listening.getsockname()[1]}",
        clerk_database_url=database.url("clerk"),
        issuers=tmp_path / "issuers.json",
    )
    with running(settings, database, listening) as made:
        asyncio.run(_people(database))
        people(made, BOTH, NILS)
        yield made


def people(desk: Desk, *entries: dict[str, Any]) -> None:
    path = desk.settings.data / "register.json"
    path.write_text(json.dumps({"people": list(entries)}), encoding="utf-8")
    assert register(desk.settings, path) == 0


def signed_in(desk: Desk, url: str, login: str) -> Person:
    now = desk.now()
    told = claims(now, iss=url, sub=login, auth_time=int(now.timestamp()))
    token = signed(header(), told, ec_key("good"))
    return Person(client=desk.client(authorization=f"Bearer {token}"))


def withdrawal(desk: Desk, nurse: Person) -> str:
    """A report whose withdrawal this nurse proposes; it waits for a second person."""
    kit = nurse.register(desk.now())["kit"]
    assert nurse.post("reports", {"kit": kit, "how": "in_person"}).status_code == 201
    waiting = nurse.post("reports/withdrawals", {"kit": kit, "how": "in_person"})
    assert waiting.status_code == 202, waiting.text
    return str(waiting.json()["proposal"])


def test_the_second_signature_with_another_account_of_the_same_person_is_refused(desk: Desk) -> None:
    ward, night = signed_in(desk, WARD, "n.nachtwacht"), signed_in(desk, NIGHT, "nachtwacht-2")
    assert ward.get("me").json()["person"] == night.get("me").json()["person"] == "nora"
    proposal = withdrawal(desk, ward)
    refused = night.post(f"proposals/{proposal}/signatures", None)
    assert refused.status_code == 409
    assert "must be another person's" in refused.json()["detail"]
    colleague = signed_in(desk, WARD, "n.nevel")
    assert colleague.get("me").json()["person"] == NURSE_2.person
    assert colleague.post(f"proposals/{proposal}/signatures", None).status_code == 201


def test_a_removed_account_signs_nobody_in_and_the_other_still_does(desk: Desk) -> None:
    removed = NORA | {"accounts": [account(WARD, "n.nachtwacht", removed=True)]}
    people(desk, removed)
    assert signed_in(desk, WARD, "n.nachtwacht").get("me").status_code == 403
    assert signed_in(desk, NIGHT, "nachtwacht-2").get("me").json()["person"] == "nora"


def test_somebody_registered_twice_signs_in_as_the_one_they_are(desk: Desk) -> None:
    again = {
        "id": "nora-again",
        "name": "Nora Nachtwacht-Dag",
        "accounts": [account(NIGHT, "dag")],
        "appointments": [{"organisation": CENTRE, "function": "nurse", "from": "2020-01-01"}],
    }
    people(desk, again)
    other = signed_in(desk, NIGHT, "dag")
    assert other.get("me").json()["person"] == "nora-again"
    people(desk, {"id": again["id"], "name": again["name"], "same_as": "nora"})
    people(desk, {"id": again["id"], "name": again["name"], "same_as": "nora"})  # nothing more to do
    assert other.get("me").json()["person"] == "nora"
    proposal = withdrawal(desk, other)
    refused = signed_in(desk, WARD, "n.nachtwacht").post(f"proposals/{proposal}/signatures", None)
    assert refused.status_code == 409
    assert "must be another person's" in refused.json()["detail"]
