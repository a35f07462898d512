"""A disposal over HTTP, from the term that is over to the certificate that anybody can check."""

import subprocess
import sys
from dataclasses import replace
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
from tests.desk.disposed import Advance, check, expired, signed, with_hospital


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


def test_policies_are_for_staff_and_not_for_an_observer_or_the_police(desk: Desk) -> None:
    for other in (with_hospital(desk), OFFICER):
        answer = desk.at(other).get("policies")
        assert answer.status_code == 403, answer.text
        assert desk.at(other).get("organisations").status_code == 200
    assert desk.at(OTHER_NURSE).get("policies").status_code == 200


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


# --- what is found after its kit was closed ---------------------------------------------------------------


def two(desk: Desk, path: str, body: dict[str, Any], *, first: Actor, second: Actor) -> None:
    """A step of two people: one proposes it, the other signs."""
    waiting = desk.at(first).post(path, body)
    assert waiting.status_code == 202, waiting.text
    signed_ = desk.at(second).post(f"proposals/{waiting.json()['proposal']}/signatures", {})
    assert signed_.status_code == 201, signed_.text


def given_up(desk: Desk, kit: str, *packages: int) -> None:
    """These packages are lost, and two people ended the search."""
    named = [{"kit": kit, "package": n} for n in packages]
    lost = desk.at(CUSTODIAN).post("packages/lose", {"packages": named, "reason": "the shelf is empty"})
    assert lost.status_code == 201, lost.text
    body = {"packages": named, "reason": "looked everywhere"}
    two(desk, "searches/ends", body, first=CUSTODIAN, second=COORDINATOR)


def found(desk: Desk, kit: str, package: int) -> None:
    answer = desk.at(CUSTODIAN).post("packages/find", {"packages": refs(kit, package)})
    assert answer.status_code == 201, answer.text
    assert state(desk, kit) == "disposed"


def alarms(desk: Desk, actor: Actor = COORDINATOR) -> list[dict[str, Any]]:
    told = desk.at(actor).get("alarms").json()["alarms"]
    return [each for each in told if each["rule"] == "found_after_disposal"]


def cart_of(observer: Actor, kit: str, package: int) -> dict[str, Any]:
    """The one package that was found, with the one item in it."""
    items = [{"kit": kit, "item": package}]
    return {"packages": refs(kit, package), "items": items, "observer": observer.person}


def destroyed_later(desk: Desk, observer: Actor, kit: str, package: int) -> list[dict[str, Any]]:
    """Cleo carries it out, the observer signs; the custody trail then."""
    waiting = desk.at(CUSTODIAN_2).post("disposals", cart_of(observer, kit, package))
    assert waiting.status_code == 202, waiting.text
    done = desk.at(observer).post(f"disposals/observations/{waiting.json()['proposal']}", {})
    assert done.status_code == 201, done.text
    assert [r["type"] for r in done.json()["receipts"]] == ["package.destroyed"]
    trail = desk.at(CUSTODIAN).get(f"kits/{kit}/custody-trail", purpose="review").json()["events"]
    return [each["event"] for each in trail]


def pages_of(desk: Desk, actor: Actor, *paths: str) -> list[str]:
    """These pages, as the person sees them in a browser."""
    cookie = desk.at(actor).client.post("/session").headers["set-cookie"].partition(";")[0]
    browser = desk.client(cookie=cookie)
    answers = [browser.get(path) for path in paths]
    assert {each.status_code for each in answers} == {200}, [each.text[-900:] for each in answers]
    return [each.text for each in answers]


def closed_as_lost(desk: Desk, advance: Advance) -> str:
    """A kit that two people closed, because all of it was lost for good."""
    (kit,) = expired(desk, advance)
    given_up(desk, kit, 1, 2, 3)
    reason = {"kit": kit, "reason": "all of it is lost"}
    two(desk, "disposals/closures", reason, first=CUSTODIAN, second=COORDINATOR)
    return kit


@pytest.mark.parametrize("without_key", [False, True], ids=["soon", "after its key was destroyed"])
def test_what_is_found_after_its_kit_was_closed_is_an_alarm_until_three_people_destroyed_it(
    desk: Desk, advance: Advance, tmp_path: Path, without_key: bool
) -> None:
    kit = closed_as_lost(desk, advance)
    if without_key:
        advance(timedelta(days=366 * 5))
        check(desk)
        with desk.database.connect("superuser") as connection:
            row = connection.execute("SELECT key_destroyed_at FROM custody.kit WHERE number = %s", [kit])
            assert row.fetchone() != (None,)
    assert alarms(desk) == []
    found(desk, kit, 2)

    (alarm,) = alarms(desk)
    assert (alarm["kit"], alarm["packages"], alarm["mine"]) == (kit, [2], True)
    assert alarm["since"] == alarm["due_at"], "at once"
    assert alarms(desk, CUSTODIAN)[0]["mine"]
    assert desk.at(OTHER_NURSE).get("alarms").json()["alarms"] == []
    told = desk.at(CUSTODIAN_2).get(f"kits/{kit}/disposal", purpose="task").json()
    assert (told["eligible"], told["packages"]) == (True, [2])
    assert "package 2 was found afterwards" in told["conditions"][0]["says"]
    types = [each["type"] for each in told["conditions"][0]["evidence"]]
    assert types == ["disposal.nothing_left", "package.found"]
    ways = (f"/kits/{kit}/disposal", f"/disposals/cart?kit={kit}", "/disposals", "/alarms")
    for each in (CUSTODIAN_2, NURSE):
        one, on_cart, every, overdue = pages_of(desk, each, *ways)
        assert f"/disposals/cart?kit={kit}" in one
        assert "Found after the kit was closed" in one
        assert "Found after the kit was closed" in every
        assert "Coraline Kompas" not in on_cart, "who approved the end of the kit does not observe"
        assert "not scanned yet" in on_cart
        assert "A package that was found after its kit was closed" in overdue

    trail = destroyed_later(desk, OTHER_NURSE, kit, 2)

    signers = [(s["part"], s["person"]) for s in trail[-1]["with"]]
    assert (trail[-1]["who"]["person"], signers) == (
        "cleo",
        [("approver", "coraline"), ("observer", "mira")],
    )
    assert alarms(desk) == []
    signed(desk)
    certificate = desk.at(COORDINATOR).get(f"kits/{kit}/certificate", purpose="review")
    code, said = verified(desk, tmp_path / "checked", certificate.content)
    assert code == 0, said
    assert "1 kit, 1 package destroyed" in said


def test_of_what_is_found_later_nothing_begins_but_its_destruction(desk: Desk, advance: Advance) -> None:
    kit = closed_as_lost(desk, advance)
    nurse = desk.at(NURSE)
    asked_ = {"pv": "PV.99.L9.000011/2026", "centre": NURSE.organisation, "kit": kit}
    assert desk.at(OFFICER).post("requests", asked_).status_code == 202
    found(desk, kit, 1)

    for path, body in (
        ("reports", {"kit": kit, "how": "in_person"}),
        ("holds", {"kit": kit, "ground": "centre", "reason": "it was found"}),
        ("terms/extensions", {"kit": kit, "how": "in_person"}),
    ):
        assert nurse.post(path, body).status_code in (403, 409, 422), path
    waits = desk.at(CUSTODIAN_2).post("disposals", cart_of(OTHER_NURSE, kit, 1))
    assert waits.status_code == 409
    assert "A request of the police to this centre waits for its answer" in waits.json()["detail"]


def test_two_people_do_not_destroy_what_is_found_later(desk: Desk, advance: Advance) -> None:
    kit = closed_as_lost(desk, advance)
    found(desk, kit, 1)
    cleo = desk.at(CUSTODIAN_2)

    for wrong, why in (
        (COORDINATOR, "are three people"),
        (CUSTODIAN_2, "are three people"),
        (CUSTODIAN, "Who proposed a disposal does not observe it"),
    ):
        answer = cleo.post("disposals", cart_of(wrong, kit, 1))
        assert answer.status_code == 409, answer.text
        assert why in answer.json()["detail"]
    with desk.database.connect("superuser") as connection:  # registered twice
        connection.execute(
            "UPDATE custody.person SET merged_into = %s WHERE id = %s", [CUSTODIAN.person, OTHER_NURSE.person]
        )
    answer = cleo.post("disposals", cart_of(OTHER_NURSE, kit, 1))
    assert answer.status_code == 409, answer.text
    assert "Who proposed a disposal does not observe it" in answer.json()["detail"]
    assert len(alarms(desk)) == 1


def test_a_package_that_was_lost_at_the_disposal_stands_on_the_certificate_with_the_day_of_its_own(
    desk: Desk, advance: Advance, tmp_path: Path
) -> None:
    (kit,) = expired(desk, advance)
    given_up(desk, kit, 3)
    for who, path in ((CUSTODIAN, "disposals/proposals"), (COORDINATOR, "disposals/approvals")):
        assert desk.at(who).post(path, {"kit": kit}).status_code == 201
    rest = {"packages": refs(kit, 1, 2), "items": [{"kit": kit, "item": n} for n in (1, 2)]}
    waiting = desk.at(CUSTODIAN_2).post("disposals", rest | {"observer": OTHER_NURSE.person})
    assert waiting.status_code == 202, waiting.text
    path = f"disposals/observations/{waiting.json()['proposal']}"
    assert desk.at(OTHER_NURSE).post(path, {}).status_code == 201
    advance(timedelta(days=40))
    found(desk, kit, 3)
    assert [each["packages"] for each in alarms(desk)] == [[3]]

    trail = destroyed_later(desk, OTHER_NURSE, kit, 3)

    choices = desk.at(COORDINATOR).get(f"kits/{kit}/choices-trail", purpose="review").json()["events"]
    assert [e["event"]["type"] for e in choices].count("disposal.carried_out") == 1
    assert [e["type"] for e in trail].count("package.destroyed") == 2
    signed(desk)
    certificate = desk.at(COORDINATOR).get(f"kits/{kit}/certificate", purpose="review")
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(certificate.content)).pages)
    for said in ("Package 1", "Package 2", "Package 3", "Found after the kit was closed"):
        assert said in text
    code, told = verified(desk, tmp_path / "checked", certificate.content)
    assert code == 0, told
    assert "1 kit, 3 packages destroyed" in told


def test_where_who_approved_the_end_has_left_a_coordinator_approves_anew_what_was_found(
    desk: Desk, advance: Advance
) -> None:
    kit = closed_as_lost(desk, advance)
    found(desk, kit, 1)
    centre = str(NURSE.organisation)
    cosima = replace(COORDINATOR, person="cosima", name="Cosima Koers")
    desk.record("person.registered", "person:cosima", id="cosima", name=str(cosima.name))
    new = {"id": "cosima", "organisation": centre, "function": "coordinator", "from": "2020-01-01"}
    desk.record("person.appointed", "person:cosima", **new)
    yesterday = (desk.now() - timedelta(days=1)).date().isoformat()
    gone = {"id": "coraline", "organisation": centre, "function": "coordinator", "until": yesterday}
    desk.record("person.left", "person:coraline", **gone)

    stuck = desk.at(CUSTODIAN_2).post("disposals", cart_of(OTHER_NURSE, kit, 1))
    assert stuck.status_code == 409
    assert "A coordinator approves anew what was found" in stuck.json()["detail"]
    (one,) = pages_of(desk, cosima, f"/kits/{kit}/disposal")
    assert f"/do/disposal.approve?kit={kit}" in one
    assert "works here no longer" in one
    (form,) = pages_of(desk, cosima, f"/do/disposal.approve?kit={kit}")
    assert 'action="/do/disposal.approve"' in form
    assert desk.at(cosima).post("disposals/approvals", {"kit": kit}).status_code == 201
    trail = destroyed_later(desk, OTHER_NURSE, kit, 1)

    assert trail[-1]["with"][0]["person"] == "cosima"
    nothing = desk.at(cosima).post("disposals/approvals", {"kit": kit})
    assert nothing.status_code == 409, "there is nothing to approve any more"
    (page,) = pages_of(desk, CUSTODIAN_2, f"/kits/{kit}/disposal?for=review")
    assert "/disposals/cart" not in page
