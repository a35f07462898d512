"""Over the API: a restricted kit for its readers and for the others, and a kit that is with justice."""

from datetime import timedelta

import httpx
import pytest

from custody.people import Actor
from tests.custody.story import (
    CENTRE,
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    MAGISTRATE,
    NURSE,
    NURSE_2,
    OFFICE,
    OFFICER,
    OTHER_MAGISTRATE,
    OTHER_NURSE,
    ZONE,
    new_number,
)
from tests.desk.conftest import Desk, Person, moment, refs
from tests.desk.test_choices import sign_log
from tests.desk.test_invisible import READINGS
from tests.desk.ways import orders, seen

READERS = ["coraline", "nora"]


def recorded(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 201, answer.text
    return [r["type"] for r in answer.json()["receipts"]]


def restricted(desk: Desk) -> str:
    nurse = desk.at(NURSE)
    kit: str = nurse.register(desk.now())["kit"]
    assert recorded(nurse.post("restrictions", {"kit": kit, "readers": READERS})) == ["kit.restricted"]
    return kit


def offered(desk: Desk, giver: Person, kit: str, to: dict[str, str], *packages: int) -> None:
    due = moment(desk.now() + timedelta(hours=4))
    order = {"packages": refs(kit, *packages), "due_at": due, **to}
    assert recorded(giver.post("hand-overs/offers", order)) == ["handover.offered"]


# --- restricted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colleague", [NURSE_2, CUSTODIAN], ids=lambda a: str(a.person))
def test_for_a_colleague_a_restricted_kit_is_a_number_that_never_existed(
    desk: Desk, colleague: Actor
) -> None:
    kit, never = restricted(desk), new_number()
    place = {"id": "cupboard", "kind": "storage", "name": "Cupboard", "organisation": CENTRE}
    desk.record("place.opened", "place:cupboard", **place)
    person = desk.at(colleague)
    before = desk.count()
    for path in READINGS:
        address = f"/api/{path}".replace("purpose=court", "purpose=review")
        there, nowhere = (person.client.get(address.format(kit=k)) for k in (kit, never))
        assert there.status_code in (403, 404), f"{path}: {there.text}"
        assert seen(there, kit) == seen(nowhere, never), path
    at = moment(desk.now() + timedelta(days=1))
    for path, order in orders(kit, at).items():
        there, nowhere = person.post(path, order), person.post(path, orders(never, at)[path])
        assert there.status_code in (403, 404), f"{path}: {there.text}"
        assert seen(there, kit) == seen(nowhere, never), path
    assert kit not in person.get("kits", purpose="review").text
    assert kit not in person.get("worklists").text
    assert desk.count() == before


def test_its_readers_see_it_and_by_whom_it_is_read(desk: Desk) -> None:
    kit = restricted(desk)
    for reader in (NURSE, COORDINATOR):
        shown = desk.at(reader).get(f"kits/{kit}", purpose="review")
        assert shown.status_code == 200
        assert shown.json()["choices"]["readers"] == READERS
        assert shown.headers["etag"]
        trail = desk.at(reader).get(f"kits/{kit}/choices-trail", purpose="review").json()["events"]
        assert trail[-1]["event"]["readers"] == READERS


def test_a_list_of_readers_is_parsed_strictly_and_refused_in_words(desk: Desk) -> None:
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    for readers, status in ((["nora"], 409), (["nora", "nils"], 409), (["nora", "mira"], 409), ("nora", 422)):
        refused = nurse.post("restrictions", {"kit": kit, "readers": readers})
        assert refused.status_code in (status, 422), refused.text
        assert refused.json()["errors"][0]["field"].startswith("readers")
    assert desk.at(CUSTODIAN).post("restrictions", {"kit": kit, "readers": READERS}).status_code == 403
    assert desk.at(OTHER_NURSE).post("restrictions", {"kit": kit, "readers": READERS}).status_code == 404


def test_the_second_signature_about_a_restricted_kit_is_a_readers(desk: Desk) -> None:
    kit = restricted(desk)
    waiting = desk.at(COORDINATOR).post("restrictions/lifts", {"kit": kit, "reason": "no longer needed"})
    assert waiting.status_code == 202, waiting.text
    proposal = waiting.json()["proposal"]
    for other in (NURSE_2, CUSTODIAN, OTHER_NURSE):
        person = desk.at(other)
        answers = [person.post(f"proposals/{p}/signatures", {}) for p in (proposal, "ab" * 16)]
        assert seen(answers[0], kit) == seen(answers[1], kit)
        assert answers[0].status_code == 404
        assert proposal not in person.get("worklists").text
        assert proposal not in person.get("proposals").text
    own = desk.at(COORDINATOR).post(f"proposals/{proposal}/signatures", {})
    assert own.status_code == 409
    assert "another person" in own.json()["detail"]
    assert proposal in desk.at(NURSE).get("worklists").text
    assert recorded(desk.at(NURSE).post(f"proposals/{proposal}/signatures", {})) == ["restriction.lifted"]
    assert desk.at(NURSE_2).get(f"kits/{kit}", purpose="review").status_code == 200


def test_a_custodian_who_is_no_reader_stores_what_was_handed_over_and_knows_no_more(desk: Desk) -> None:
    kit = restricted(desk)
    offered(desk, desk.at(NURSE), kit, {"organisation": CENTRE, "person": "casper"}, 2)
    offered(desk, desk.at(NURSE), kit, {"organisation": CENTRE}, 3)
    custodian = desk.at(CUSTODIAN)
    lines = custodian.get("worklists").json()["offers"]
    assert [(line["kit"], line["package"]) for line in lines] == [(kit, 2)]
    assert "handover.accepted" in recorded(
        custodian.post("hand-overs/acceptances", {"packages": refs(kit, 2)})
    )
    for package in (1, 3):
        refused = custodian.post("hand-overs/acceptances", {"packages": refs(kit, package)})
        assert (refused.status_code, refused.json()["detail"]) == (422, f"This kit has no package {package}.")
    shown = custodian.get(f"kits/{kit}", purpose="task")
    assert shown.status_code == 200, shown.text
    assert set(shown.json()["packages"]) == {"2"}
    assert not {"choices", "retention", "examined_on", "etag"} & (set(shown.json()) | set(shown.headers))
    assert READERS[0] not in shown.text
    assert custodian.get(f"kits/{kit}/custody-trail", purpose="task").status_code == 403
    assert desk.at(CUSTODIAN_2).get(f"kits/{kit}", purpose="review").status_code == 404
    put = {"packages": refs(kit, 2), "place": "shelf-1"}
    assert recorded(custodian.post("packages/store", put)) == ["package.stored"]
    assert custodian.get(f"kits/{kit}", purpose="review").status_code == 404


def test_behind_the_broken_glass_a_colleague_reads_and_acts_for_an_hour(desk: Desk) -> None:
    kit = restricted(desk)
    colleague = desk.at(NURSE_2)
    opened = colleague.post(f"kits/{kit}/glass", {"reason": "victim_in_danger"})
    assert opened.status_code in (200, 201), opened.text
    shown = colleague.get(f"kits/{kit}", purpose="task")
    assert shown.status_code == 200, shown.text
    assert shown.json()["choices"]["readers"] == READERS
    assert len(shown.json()["packages"]) == 3
    assert colleague.get(f"kits/{kit}/custody-trail", purpose="task").status_code == 200
    hold = {"kit": kit, "ground": "safety", "reason": "in danger"}
    assert recorded(colleague.post("holds", hold)) == ["hold.placed"]
    others = colleague.post("restrictions", {"kit": kit, "readers": ["nils", "coraline"]})
    assert others.status_code == 409
    assert "a coordinator who broke the glass" in others.json()["detail"]


# --- with justice -----------------------------------------------------------------------------------------


def released(desk: Desk, *packages: int) -> str:
    """A kit of which the police accepted these packages."""
    nurse, coordinator, officer = desk.at(NURSE), desk.at(COORDINATOR), desk.at(OFFICER)
    kit: str = nurse.register(desk.now())["kit"]
    assert nurse.post("reports", {"kit": kit, "how": "in_person"}).status_code == 201
    asked = officer.post("requests", {"pv": "BR.37.L1.012345/2026", "centre": CENTRE})
    request = asked.json()["receipts"][0]["trail"].split(":")[1]
    answer = nurse.post("requests/answers", {"request": request, "kit": kit, "how": "match"})
    signed = desk.at(NURSE_2).post(f"proposals/{answer.json()['proposal']}/signatures", {})
    assert "match.confirmed" in recorded(signed)
    link = {"pv": "BR.37.L1.012345/2026", "notice": "N-1", "office": OFFICE, "zone": ZONE}
    assert recorded(coordinator.post("links", {"kit": kit, **link})) == ["kit.linked"]
    offered(desk, nurse, kit, {"organisation": ZONE}, *packages)
    accepted = officer.post("hand-overs/acceptances", {"packages": refs(kit, *packages)})
    assert "kit.released" in recorded(accepted)
    return kit


SINCE = {"kit", "written", "centre", "legal", "registered_at", "examined_on", "released_at"}


@pytest.mark.parametrize("person", [NURSE, CUSTODIAN, COORDINATOR])
def test_the_centre_sees_since_when_and_what_it_still_has(desk: Desk, person: Actor) -> None:
    kit = released(desk, 1, 2)
    shown = desk.at(person).get(f"kits/{kit}", purpose="review")
    assert shown.status_code == 200, shown.text
    assert "etag" not in shown.headers
    assert {k for k, v in shown.json().items() if v not in ({}, [])} == SINCE | {"packages", "items"}
    assert set(shown.json()["packages"]) == {"3"}
    assert "012345" not in shown.text
    listed = desk.at(person).get("kits", purpose="review").json()["kits"]
    assert [(k["kit"], k["legal"], "retention" in k) for k in listed] == [(kit, "released", False)]
    assert desk.at(person).get("worklists").status_code == 200


def test_trails_and_files_are_refused_with_whom_to_ask_and_the_magistrate_has_them(desk: Desk) -> None:
    kit = released(desk, 1, 2, 3)
    sign_log(desk)
    before = desk.count("access")
    for path in ("custody-trail", "choices-trail", "private", "bundle"):
        refused = desk.at(COORDINATOR).get(f"kits/{kit}/{path}", purpose="review")
        assert refused.status_code == 403, (path, refused.text)
        assert "Ask the prosecutor's office" in refused.json()["detail"]
    assert desk.count("access") == before
    magistrate = desk.at(MAGISTRATE)
    assert magistrate.get(f"kits/{kit}/custody-trail", purpose="court").status_code == 200
    assert magistrate.get(f"kits/{kit}/bundle", purpose="court").status_code == 200


def test_the_office_opens_the_kit_to_its_centre_again(desk: Desk) -> None:
    kit = released(desk, 1)
    assert desk.at(COORDINATOR).post("releases/openings", {"kit": kit}).status_code == 403
    assert desk.at(OTHER_MAGISTRATE).post("releases/openings", {"kit": kit}).status_code == 404
    opened = desk.at(MAGISTRATE).post("releases/openings", {"kit": kit, "reason": "for the hearing"})
    assert recorded(opened) == ["kit.opened_to_centre"]
    sign_log(desk)
    coordinator = desk.at(COORDINATOR)
    shown = coordinator.get(f"kits/{kit}", purpose="review").json()
    assert len(shown["packages"]) == 3
    assert shown["opened_to_centre_at"]
    assert shown["choices"]["age_class"] == "adult"
    assert coordinator.get(f"kits/{kit}/custody-trail", purpose="review").status_code == 200
    assert coordinator.get(f"kits/{kit}/bundle", purpose="court").status_code == 200


def test_a_release_in_error_is_still_the_coordinators_to_undo(desk: Desk) -> None:
    kit = released(desk, 1)
    waiting = desk.at(COORDINATOR).post("releases/errors", {"kit": kit, "reason": "another person's kit"})
    assert waiting.status_code == 202, waiting.text
    signed = desk.at(NURSE).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert recorded(signed) == ["release.in_error"]
    assert len(desk.at(NURSE).get(f"kits/{kit}", purpose="review").json()["packages"]) == 3


def test_clothing_brought_after_the_release_gets_the_next_number_and_stays_known(desk: Desk) -> None:
    kit = released(desk, 1, 2, 3)
    nurse = desk.at(NURSE)
    new = {
        "package": 4,
        "kind": "bag",
        "storage": "dry",
        "seal": "S-4",
        "items": [{"item": 9, "type": "shoes"}],
    }
    added = nurse.post("kits/supplements", {"kit": kit, "packages": [new], "brought_by": "victim"})
    assert "package.packed" in recorded(added)
    assert set(nurse.get(f"kits/{kit}", purpose="review").json()["packages"]) == {"4"}
