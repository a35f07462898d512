"""Fields of the private part for a court: told on a judge's order, on record, checked beside the bundle."""

import json
from pathlib import Path

import pytest

from custody.bundle import write
from custody.disclosure import FORMAT, disclose, salted
from desk.cli import main
from tests.custody.story import COORDINATOR, NURSE, NURSE_2, OFFICER, OTHER_NURSE
from tests.custody.test_disclosure import THREE, event_of
from tests.custody.test_examination import packed
from tests.custody.trails import KIT, TO_THE_STORE, VKEYS, trail
from tests.desk.conftest import Desk

ORDER = {"digest": "ab" * 32, "authority": "Rechtbank Avondland", "dated": "2026-01-15"}


def kit_with_order(desk: Desk) -> str:
    """A kit for which two people entered the order."""
    kit = str(desk.at(NURSE).register(desk.now())["kit"])
    waiting = desk.at(COORDINATOR).post("choices/disclosures", {"kit": kit, **ORDER})
    signed = desk.at(NURSE_2).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert signed.status_code == 201, signed.text
    return kit


def test_a_coordinator_tells_what_the_order_asks_for_and_nothing_else_leaves(desk: Desk) -> None:
    kit = kit_with_order(desk)
    told = desk.at(COORDINATOR).post(f"kits/{kit}/disclosures", ORDER | {"fields": ["item 2"]})
    assert told.status_code == 200, told.text
    document = told.json()
    assert (document["format"], document["kit"]) == (FORMAT, kit)
    (entry,) = document["events"]
    assert [(f["name"], f["value"]) for f in entry["disclosed"]] == [("item 2", "underwear")]
    assert len(entry["undisclosed"]) == 2
    for hidden in ("INVENTED-1", "somebody@invented.example", "swab_skin", "shoes"):
        assert hidden not in told.text
    with desk.database.connect("superuser") as connection:
        rows = connection.execute("SELECT bytes FROM custody.access WHERE kit = %s", [kit]).fetchall()
    records = [json.loads(bytes(row[0])) for row in rows]
    (record,) = [r for r in records if r["read"] == "private_disclosed"]
    assert (record["who"]["person"], record["digest"]) == (COORDINATOR.person, ORDER["digest"])
    assert record["purpose"] == "court"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fields": ["item 9"]}, "has no item 9"),
        ({"fields": []}, "Name the fields"),
        ({"fields": ["item 1"], "digest": "x"}, "cannot be recorded"),
        ({"fields": ["item 1"], "dated": "2999-01-01"}, "still to come"),
    ],
)
def test_an_order_that_is_none_or_asks_for_what_is_not_there_is_refused_in_words(
    desk: Desk, change: dict[str, object], says: str
) -> None:
    kit = kit_with_order(desk)
    refused = desk.at(COORDINATOR).post(f"kits/{kit}/disclosures", ORDER | change)
    assert 400 <= refused.status_code < 500
    assert says in refused.text


def test_without_an_order_that_two_people_entered_nothing_of_the_private_part_is_told(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    asked = ORDER | {"fields": ["item 2"]}
    waiting = desk.at(COORDINATOR).post("choices/disclosures", {"kit": kit, **ORDER})
    assert waiting.status_code == 202  # one person proposed it, and nobody signed
    other = kit_with_order(desk)
    for number, order in (
        (kit, asked),
        (other, asked | {"digest": "cd" * 32}),
        (other, asked | {"authority": "Rechtbank Morgenland"}),
        (other, asked | {"dated": "2026-01-16"}),
    ):
        refused = desk.at(COORDINATOR).post(f"kits/{number}/disclosures", order)
        assert refused.status_code == 422, refused.text
        assert "together with a second person" in refused.text
    assert desk.at(COORDINATOR).post(f"kits/{other}/disclosures", asked).status_code == 200


def test_nobody_else_gets_a_disclosure_and_a_stranger_learns_nothing(desk: Desk) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    order = ORDER | {"fields": ["item 1"]}
    assert desk.at(NURSE).post(f"kits/{kit}/disclosures", order).status_code == 403
    for stranger in (OTHER_NURSE, OFFICER):
        assert desk.at(stranger).post(f"kits/{kit}/disclosures", order).status_code in (403, 404)


# --- offline ---------------------------------------------------------------------------------------


TOLD = tuple(
    (type_, who, fields | ({"private": THREE.digest("")} if type_ == "package.packed" else {}))
    for type_, who, fields in TO_THE_STORE
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "trail.zip"
    path.write_bytes(write(packed([event.bytes for event in trail(TOLD)])))
    return path


def verified(bundle: Path, document: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    told = bundle.with_name("told.json")
    told.write_bytes(document)
    code = main(["verify", str(bundle), "--key", VKEYS, "--disclosure", str(told)])
    return code, capsys.readouterr().out


def test_verify_tells_which_values_belong_to_which_event_and_refuses_what_belongs_to_none(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = disclose(KIT, [(trail(TOLD)[1], THREE)], ["item 2"])
    code, said = verified(bundle, document, capsys)
    assert code == 0
    assert "The disclosure holds: these values, and no others" in said
    assert "- event 2 (package.packed): item 2: shoes" in said
    assert "swab_penile" not in said
    code, said = verified(bundle, document.replace(b"shoes", b"boots"), capsys)
    assert code == 1
    assert "The disclosure DOES NOT HOLD: the fields are not those" in said
    assert "boots" not in said
    elsewhere = disclose(KIT, [(event_of(THREE, kit=KIT), THREE)], ["item 2"])
    code, said = verified(bundle, elsewhere, capsys)
    assert code == 1
    assert "is not in the bundle" in said


def test_what_belongs_to_an_event_of_the_other_trail_is_said_to_be_unproved_by_this_bundle(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = salted({"hospital_reference": "INVENTED-9"}, bytes(range(60, 76)))
    choices = event_of(other, kit=KIT)
    document = disclose(KIT, [(trail(TOLD)[1], THREE), (choices, other)], ["item 2", "hospital_reference"])
    code, said = verified(bundle, document, capsys)
    assert code == 0
    assert "holds as far as this bundle goes" in said
    assert "- event 2 (package.packed): item 2: shoes" in said
    assert "Check with the bundle of the choices trail" in said
    assert f"- hospital_reference: event {choices.digest}" in said
    assert "INVENTED-9" not in said
    code, said = verified(bundle, document.replace(b"shoes", b"boots"), capsys)
    assert code == 1
    assert "boots" not in said


def test_beside_a_bundle_that_does_not_hold_nothing_is_told(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = trail(TOLD)
    document = disclose(KIT, [(events[1], THREE)], ["item 2"])
    bundle.write_bytes(write(packed([event.bytes for event in (events[1], *events[2:])])))
    code, said = verified(bundle, document, capsys)
    assert code == 1
    assert "was not looked at" in said
    assert "shoes" not in said


def test_a_disclosure_beside_a_folder_is_a_fault_of_the_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "told.json").write_bytes(b"{}")
    assert main(["verify", str(tmp_path), "--disclosure", str(tmp_path / "told.json")]) == 2
    assert "beside the bundle of its kit" in capsys.readouterr().err
