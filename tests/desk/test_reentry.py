"""What was lost with a database that was taken back is entered again from its receipt, and says so."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from custody.commands import DeclareReport, Paper, PlaceHold
from custody.kit import Kit, from_document
from custody.people import Actor, Function
from custody.prosecution import declare
from custody.refusal import Refused
from retention.holds import place_hold
from tests.custody.story import CENTRE, NURSE
from tests.desk.conftest import Desk, moment, new_kit, refs

LOST = "5e" * 32
ENTERED = (
    *("kit.registered", "package.packed", "package.sealed", "agreement.recorded", "term.agreed"),
    *("package.stored", "package.taken", "package.opened", "package.resealed"),
    *("handover.offered", "handover.acceptance_recorded"),
    *("term.extended", "hold.placed", "report.declared"),
)


def again(desk: Desk, **changes: Any) -> dict[str, Any]:
    when = moment(desk.now() - timedelta(hours=2))
    return {"digest": "ab" * 32, "occurred_at": when, "lost": LOST, **changes}


def trails(desk: Desk, kit: str) -> dict[str, dict[str, Any]]:
    """Every event of the kit by its type."""
    with desk.database.connect("superuser") as connection:
        rows = connection.execute(
            "SELECT convert_from(bytes, 'UTF8')::jsonb FROM custody.event WHERE kit = %s", [kit]
        )
        return {event["type"]: event for (event,) in rows}


def test_every_act_that_a_paper_can_prove_names_the_lost_receipt_and_when_it_happened(desk: Desk) -> None:
    nurse, paper = desk.at(NURSE), again(desk)
    made = nurse.post("kits", new_kit(desk.now() - timedelta(hours=3)) | {"paper": paper})
    assert made.status_code == 201, made.text
    kit = made.json()["kit"]
    someone = {"receiver": "Kato Koerier", "receiver_organisation": "Koeriers", "signature": "cd" * 32}
    orders: list[tuple[str, dict[str, Any]]] = [
        ("packages/store", {"packages": refs(kit, 1), "place": "freezer-1"}),
        ("packages/take", {"packages": refs(kit, 1), "reason": "to the laboratory"}),
        ("packages/open", {"packages": refs(kit, 2), "reason": "an item was missing"}),
        ("packages/reseal", {"packages": refs(kit, 2, seal="S-0099")}),
        ("hand-overs/offers", {"packages": refs(kit, 3), "organisation": CENTRE, "due_at": later(desk)}),
        ("hand-overs/recorded-acceptances", {"packages": refs(kit, 3), **someone}),
        ("terms/extensions", {"kit": kit, "how": "in_person"}),
        ("holds", {"kit": kit, "ground": "centre", "reason": "asked for by the centre"}),
        ("reports", {"kit": kit, "how": "in_person"}),
    ]
    for path, order in orders:
        answer = nurse.post(path, order | {"paper": paper})
        assert answer.status_code == 201, (path, answer.text)
    recorded = trails(desk, kit)
    for type_ in ENTERED:
        assert recorded[type_]["lost"] == LOST, type_
    assert recorded["report.declared"]["occurred_at"] == paper["occurred_at"].replace("+00:00", "Z")


def later(desk: Desk) -> str:
    return moment(desk.now() + timedelta(hours=4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lost": "5e" * 31},
        {"lost": "5E" * 32},
        {"lost": "a receipt"},
        {"lost": 7},
        {"occurred_at": "2999-01-01T00:00:00+00:00"},
    ],
    ids=str,
)
def test_what_is_no_receipt_or_has_not_happened_yet_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    before = desk.count()
    answer = nurse.post("reports", {"kit": kit, "how": "in_person", "paper": again(desk, **wrong)})
    assert answer.status_code == 422, answer.text
    assert desk.count() == before


def test_the_page_asks_for_the_lost_receipt_and_the_trail_shows_it(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    client = desk.client(**{"sec-fetch-site": "same-origin", "accept": "text/html"})
    assert NURSE.person is not None
    assert client.post("/sign-in", data={"who": NURSE.person}).status_code == 303
    form = client.get("/do/hold.place", params={"kit": kit}).text
    assert "Digest on the receipt of the lost record, if there is one" in form
    fields = {
        "form_token": client.get("/api/me").json()["form_token"],
        "key": uuid4().hex,
        "kit": kit,
        "ground": "centre",
        "reason": "asked for by the centre",
        "paper_lost": f" {LOST[:32].upper()} {LOST[32:]} ",
    }
    refused = client.post("/do/hold.place", data=fields)
    assert refused.status_code == 422
    assert "give both the paper and when it happened" in refused.text
    local = (desk.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    done = client.post("/do/hold.place", data=fields | {"paper": "ab" * 32, "paper_occurred_at": local})
    assert done.status_code in (200, 303), done.text
    assert trails(desk, kit)["hold.placed"]["lost"] == LOST
    shown = client.get(f"/kits/{kit}/choices").text
    assert "Entered again after a restore; receipt:" in shown
    assert f'title="{LOST}"' in shown


def test_the_victims_own_page_enters_nothing_from_paper(desk: Desk) -> None:
    paper = Paper(digest="ab" * 32, occurred_at=desk.now(), lost=LOST)
    number = desk.at(NURSE).register(desk.now())["kit"]
    victim = Actor(function=Function.VICTIM, card=number)
    kit = seen(desk, number)
    with pytest.raises(Refused, match="by the staff"):
        declare(kit, DeclareReport(kit=number, how="by_card", paper=paper), victim)
    order = PlaceHold(kit=number, ground="safety", reason="-", paper=paper)
    with pytest.raises(Refused, match="by the staff"):
        place_hold(kit, order, victim, "ab" * 16, (), desk.now())


def seen(desk: Desk, number: str) -> Kit:
    with desk.database.connect("superuser") as connection:
        row = connection.execute("SELECT document FROM custody.kit WHERE number = %s", [number]).fetchone()
    assert row is not None
    return from_document(Kit, row[0])
