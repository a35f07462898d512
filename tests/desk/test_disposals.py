"""A disposal over HTTP, from the term that is over to the certificate that anybody can check."""

import subprocess
import sys
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter

from custody.people import Actor
from tests.custody.story import (
    COORDINATOR,
    CUSTODIAN,
    CUSTODIAN_2,
    NURSE,
    NURSE_2,
    OFFICER,
    OTHER_NURSE,
)
from tests.desk.conftest import Desk, refs
from tests.desk.disposed import Advance, expired, signed, with_hospital


def approved(desk: Desk, advance: Advance, count: int = 1) -> list[str]:
    """Kits whose disposal a custodian proposed and a coordinator approved."""
    kits = expired(desk, advance, count)
    for kit in kits:
        for who, path in ((CUSTODIAN, "disposals/proposals"), (COORDINATOR, "disposals/approvals")):
            answer = desk.at(who).post(path, {"kit": kit})
            assert answer.status_code == 201, answer.text
    return kits


def cart(observer: str | None, *kits: str, **changes: Any) -> dict[str, Any]:
    """Every package with its seal; nothing ever had a label, so each item is named by its number."""
    items = [{"kit": kit, "item": n} for kit in kits for n in (1, 2, 3)]
    order: dict[str, Any] = {"packages": [r for kit in kits for r in refs(kit, 1, 2, 3)], "items": items}
    return order | ({"observer": observer} if observer else {}) | changes


def asked(desk: Desk, observer: Actor, *kits: str) -> str:
    """Cleo carries it out and asks for an observer; the name of what waits."""
    answer = desk.at(CUSTODIAN_2).post("disposals", cart(observer.person, *kits))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["proposal"])


def state(desk: Desk, kit: str) -> str:
    return str(desk.at(NURSE).get(f"kits/{kit}", purpose="review").json()["retention"])


# --- the observer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_hospital", [True, False])
def test_an_observer_of_a_hospital_or_another_centre_signs_and_sees_package_codes_alone(
    desk: Desk, advance: Advance, from_hospital: bool
) -> None:
    (kit,) = approved(desk, advance)
    observer = with_hospital(desk) if from_hospital else OTHER_NURSE
    proposal = asked(desk, observer, kit)
    at = desk.at(observer)

    (told,) = at.get("disposals/observations").json()["observations"]
    grouped = f"{kit[:4]}-{kit[4:8]}-{kit[8:]}"
    assert told["packages"] == [f"{grouped}-P01", f"{grouped}-P02", f"{grouped}-P03"]
    assert set(told) == {"id", "carried_out_by", "organisation", "proposed_at", "until", "packages"}
    assert at.get(f"kits/{kit}", purpose="review").status_code in (403, 404)
    assert at.get("proposals").json().get("proposals", []) == []
    page = at.client.get("/", headers={"accept": "text/html"}).text
    assert "S-1" not in page

    receipts = at.post(f"disposals/observations/{proposal}", {}, key="observed-by-me")
    assert receipts.status_code == 201, receipts.text
    again = at.post(f"disposals/observations/{proposal}", {}, key="observed-by-me")
    assert (again.status_code, again.json()) == (200, receipts.json())

    assert state(desk, kit) == "disposed"
    trail = desk.at(COORDINATOR).get(f"kits/{kit}/custody-trail", purpose="review").json()["events"]
    signers = trail[-1]["event"]["with"]
    assert [(s["part"], s["person"]) for s in signers] == [
        ("approver", "coraline"),
        ("observer", observer.person),
    ]
    assert at.get("disposals/observations").json() == {"observations": []}


def test_nobody_signs_in_the_place_of_the_observer_who_was_asked(desk: Desk, advance: Advance) -> None:
    (kit,) = approved(desk, advance)
    hanna = with_hospital(desk)
    proposal = asked(desk, hanna, kit)

    for other in (NURSE, NURSE_2, COORDINATOR, CUSTODIAN_2):
        assert desk.at(other).post(f"proposals/{proposal}/signatures", {}).status_code == 409, other.name
    for stranger in (OTHER_NURSE,):
        assert desk.at(stranger).post(f"disposals/observations/{proposal}", {}).status_code == 404
    assert desk.at(OFFICER).post(f"disposals/observations/{proposal}", {}).status_code == 403
    assert proposal not in desk.at(NURSE).get("proposals").text
    assert state(desk, kit) == "approved"


def test_an_observer_is_named_and_is_not_involved(desk: Desk, advance: Advance) -> None:
    (kit,) = approved(desk, advance)
    cleo = desk.at(CUSTODIAN_2)

    for wrong in (None, COORDINATOR.person, CUSTODIAN_2.person, OFFICER.person, "nobody"):
        answer = cleo.post("disposals", cart(wrong, kit))
        assert answer.status_code in (409, 422), (wrong, answer.text)
        assert "bserve" in answer.json()["detail"]


def test_an_observer_who_declines_is_not_asked_again(desk: Desk, advance: Advance) -> None:
    (kit,) = approved(desk, advance)
    hanna = desk.at(with_hospital(desk))
    proposal = asked(desk, with_name("hanna"), kit)

    assert hanna.client.delete(f"/api/disposals/observations/{proposal}").status_code == 204
    assert hanna.get("disposals/observations").json() == {"observations": []}
    assert hanna.post(f"disposals/observations/{proposal}", {}).status_code in (403, 404)
    assert state(desk, kit) == "approved"


def with_name(person: str) -> Actor:
    return Actor(function=OTHER_NURSE.function, person=person)


def test_what_comes_between_stops_it_and_the_observer_is_not_told_why(desk: Desk, advance: Advance) -> None:
    (kit,) = approved(desk, advance)
    hanna = desk.at(with_hospital(desk))
    proposal = asked(desk, with_name("hanna"), kit)
    held = desk.at(NURSE).post("holds", {"kit": kit, "ground": "suspected_pressure", "reason": "worries"})
    assert held.status_code == 201, held.text

    answer = hanna.post(f"disposals/observations/{proposal}", {})

    assert answer.status_code == 409
    assert "cannot be carried out as it stands" in answer.json()["detail"]
    assert "hold" not in answer.text
    assert state(desk, kit) == "expired"


@pytest.mark.parametrize("page", [False, True], ids=["over the API", "on the page"])
def test_in_the_place_of_an_observer_nothing_else_is_signed_or_declined(desk: Desk, page: bool) -> None:
    kit = desk.at(NURSE).register(desk.now())["kit"]
    renewal = desk.at(NURSE).post("cards/renewals", {"kit": kit, "how": "in_person"})
    assert renewal.status_code == 202, renewal.text
    proposal = renewal.json()["proposal"]
    nils = desk.at(NURSE_2)
    if page:
        cookie = nils.client.post("/session").headers["set-cookie"].partition(";")[0]
        browser = desk.client(cookie=cookie, origin=desk.base_url)
        form = {"form_token": browser.get("/api/me").json()["form_token"], "key": "0" * 32}
        answers = [
            browser.post(f"/disposals/observe/{proposal}", data=form | {"decision": each})
            for each in ("sign", "decline")
        ]
    else:
        path = f"disposals/observations/{proposal}"
        answers = [nils.post(path, {}), nils.client.delete(f"/api/{path}")]
        assert "not asked to observe" in answers[0].json()["detail"]
        assert "no kit with this number" not in answers[1].text
    assert [each.status_code for each in answers] == [404, 404]
    assert proposal in nils.get("proposals").text


# --- conditions and carts ---------------------------------------------------------------------------------


def test_every_condition_is_told_with_what_bears_it_out_and_each_request_with_why_it_is_not_this_kit(
    desk: Desk, advance: Advance
) -> None:
    (kit,) = expired(desk, advance)
    nurse, officer = desk.at(NURSE), desk.at(OFFICER)
    asked_ = {"pv": "PV.99.L9.000009/2026", "centre": NURSE.organisation}
    assert officer.post("requests", asked_ | {"examined_on": "2020-02-02"}).status_code == 202
    officer.post("requests", asked_ | {"pv": "PV.99.L9.000010/2026"})
    open_ = nurse.get("worklists").json()["requests"]

    def told() -> dict[str, Any]:
        answer = desk.at(COORDINATOR).get(f"kits/{kit}/disposal", purpose="review")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    waiting = told()
    assert not waiting["eligible"]
    assert [c["met"] for c in waiting["conditions"] if c["name"] == "request"] == [False, False]
    refused = desk.at(CUSTODIAN).post("disposals/proposals", {"kit": kit})
    assert refused.status_code == 409
    for request in open_:
        no = nurse.post("requests/answers", {"request": request["id"], "how": "no_match"})
        signed_ = desk.at(NURSE_2).post(f"proposals/{no.json()['proposal']}/signatures", {})
        assert signed_.status_code == 201, signed_.text

    found = told()
    assert found["eligible"]
    assert found["packages"] == [1, 2, 3]
    evidence = {c["name"]: [e["type"] for e in c["evidence"]] for c in found["conditions"]}
    assert evidence["term"] == ["term.agreed", "term.expired"]
    assert evidence["notice"] == ["notice.due", "notice.attempted"]
    says = [c["says"] for c in found["conditions"] if c["name"] == "request"]
    assert "another day than this kit's" in says[0]
    assert "Nora Nachtwacht & Nils Nevel looked and said so" in says[1]


def test_what_is_not_there_is_recorded_at_once_and_the_rest_of_the_cart_goes_on(
    desk: Desk, advance: Advance
) -> None:
    here, gone = approved(desk, advance, 2)
    cleo = desk.at(CUSTODIAN_2)
    order = cart(OTHER_NURSE.person, here, gone)
    order["packages"] = [r for r in order["packages"] if (r["kit"], r["package"]) != (gone, 2)]
    order["not_found"] = [{"kit": gone, "package": 2}]

    found = cleo.post("disposals", order)

    assert found.status_code == 201, found.text
    assert [r["type"] for r in found.json()["receipts"]] == ["package.lost", "disposal.withdrawn"]
    assert (state(desk, gone), state(desk, here)) == ("expired", "approved")
    proposal = asked(desk, OTHER_NURSE, here)
    answer = desk.at(OTHER_NURSE).post(f"disposals/observations/{proposal}", {})
    assert answer.status_code == 201, answer.text
    assert state(desk, here) == "disposed"


# --- the certificate --------------------------------------------------------------------------------------


def verified(desk: Desk, folder: Path, data: bytes, name: str = "certificate.pdf") -> tuple[int, str]:
    """``custody verify`` in a folder of its own, with the key from the service and nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    (folder / "events.vkey").write_text(desk.at(COORDINATOR).get("log/key").json()["key"])
    run = subprocess.run(
        [sys.executable, "-m", "desk.cli", "verify", name, "--key", "events.vkey"],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def altered(data: bytes, change: Any) -> bytes:
    """The same certificate with what it carries changed."""
    writer = PdfWriter(clone_from=BytesIO(data))
    files = {name: found[0] for name, found in PdfReader(BytesIO(data)).attachments.items()}
    made = PdfWriter()
    for page in writer.pages:
        made.add_page(page)
    for name, content in change(files).items():
        made.add_attachment(name, content)
    out = BytesIO()
    made.write(out)
    return out.getvalue()


def test_a_certificate_is_proved_offline_and_a_changed_one_is_not(
    desk: Desk, advance: Advance, tmp_path: Path
) -> None:
    first, second = approved(desk, advance, 2)
    proposal = asked(desk, OTHER_NURSE, first, second)
    assert desk.at(OTHER_NURSE).post(f"disposals/observations/{proposal}", {}).status_code == 201
    coordinator = desk.at(COORDINATOR)
    early = coordinator.get(f"kits/{first}/certificate", purpose="review")
    assert early.status_code == 409
    assert "not yet in the signed log" in early.json()["detail"]
    signed(desk)

    one = coordinator.get(f"kits/{first}/certificate", purpose="review")
    both = coordinator.get("disposals/certificate", kit=[first, second], purpose="review")

    assert one.status_code == both.status_code == 200, one.text[:200]
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(one.content)).pages)
    for each in ("Cleo Kast", "Coraline Kompas", "Mira Maan", "seal S-1", "Certificate of disposal"):
        assert each in text
    for never in ("notice", "somebody@invented", "not_wanted", "swab"):
        assert never not in "".join(one.content.decode("latin1")).replace("its notice was settled", "")
    for data, kits in ((one.content, (first,)), (both.content, (first, second))):
        code, said = verified(desk, tmp_path / "checked", data)
        assert code == 0, said
        assert "Every check holds." in said
        assert "3. holds: Every event is in the log." in said
        assert "Anything else that is printed on the pages" in said
        assert all(kit in said for kit in kits)

    def another_name(files: dict[str, bytes]) -> dict[str, bytes]:
        return {name: data.replace(b"Mira Maan", b"Mina Maan") for name, data in files.items()}

    code, said = verified(desk, tmp_path / "changed", altered(one.content, another_name))
    assert code == 1
    assert "3. DOES NOT HOLD" in said
    code, said = verified(desk, tmp_path / "lacking", altered(one.content, lambda files: {}))
    assert code == 1
    assert "is not a certificate of disposal" in said
    swapped = {f"{first}.json": f"{second}.json", f"{first}.tlog-proof": f"{second}.tlog-proof"}
    code, said = verified(
        desk, tmp_path / "swapped", altered(one.content, lambda f: {swapped[n]: d for n, d in f.items()})
    )
    assert code == 1
    assert "1. DOES NOT HOLD" in said


def test_only_the_kits_centre_gets_the_certificate_and_never_before_the_disposal(
    desk: Desk, advance: Advance
) -> None:
    (kit,) = approved(desk, advance)
    path = f"kits/{kit}/certificate"

    assert desk.at(COORDINATOR).get(path, purpose="review").status_code == 409
    assert desk.at(OTHER_NURSE).get(path, purpose="review").status_code == 404
    assert desk.at(OFFICER).get(path, purpose="court").status_code == 403
    asked(desk, OTHER_NURSE, kit)
    advance(timedelta(hours=3))
    assert desk.at(OTHER_NURSE).get("disposals/observations").json() == {"observations": []}
