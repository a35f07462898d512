"""The main job, from the examination room to the prosecution file, and to the other ending.

Over HTTP against the service as it runs: embedded PostgreSQL, web workers and the clerk, started as one
process by ``custody demo``. What is downloaded at the end is verified in an empty folder, without it.
"""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import zxingcpp

from desk.postgres import free_port
from tests.labels.scanners import pdf_pages, read_by_zbar

START = 90
SIGNED = 20
QUIET = 24  # the white around a code, at 300 dots per inch


class Desk:
    """One person at the service, signed in."""

    def __init__(self, base_url: str, person: str, open_: ExitStack) -> None:
        self.client = open_.enter_context(httpx.Client(base_url=base_url, timeout=30))
        token = self.client.post("/demo/sign-in", json={"person": person}).json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, key: str | None = None, /, **order: Any) -> httpx.Response:
        return self.client.post(f"/api/{path}", json=order, headers={"Idempotency-Key": key or uuid4().hex})

    def do(self, path: str, /, **order: Any) -> dict[str, Any]:
        """Carry out a command that must succeed."""
        answer = self.post(path, **order)
        assert answer.status_code in (200, 201), f"{path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def propose(self, path: str, /, **order: Any) -> str:
        """Give a command that waits for a second person."""
        answer = self.post(path, **order)
        assert answer.status_code == 202, f"{path}: {answer.status_code} {answer.text}"
        return str(answer.json()["proposal"])

    def sign(self, proposal: str) -> None:
        answer = self.post(f"proposals/{proposal}/signatures")
        assert answer.status_code == 201, answer.text

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(f"/api/{path}", params=query)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service as people start it, in a folder and on a port of its own."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")} | {
        "CUSTODY_DATA": str(tmp_path_factory.mktemp("service") / "var"),
        "CUSTODY_PORT": str(port),
        "CUSTODY_WORKERS": "1",
        "CUSTODY_DEMO": "fictional",
    }
    told = tmp_path_factory.mktemp("told") / "output"
    with told.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "desk.cli", "demo"], env=environment, stdout=output, stderr=output
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}", process, told)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, told.read_text()


@pytest.fixture
def desk(address: str) -> Iterator[Callable[[str], Desk]]:
    """Signs people in, and lets go of their connections at the end."""
    with ExitStack() as open_:
        yield lambda person: Desk(address, person, open_)


def _wait_for(base_url: str, process: subprocess.Popen[bytes], told: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        assert process.poll() is None, told.read_text()
        try:
            if httpx.get(f"{base_url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the service did not answer within {START} s:\n{told.read_text()}")


def new_kit(nurse: Desk, examined_at: datetime, age_class: str = "adult") -> str:
    """Three packages with twelve items."""
    contents = [
        ("envelope", "frozen", ["swab_oral", "swab_skin", "swab_nails", "swab_control", "saliva_reference"]),
        ("clothing_bag", "dry", ["underwear", "clothing_upper", "clothing_lower", "shoes"]),
        ("tube_rack", "refrigerated", ["blood_toxicology", "urine_toxicology", "urine_toxicology"]),
    ]
    packages: list[dict[str, Any]] = []
    item = 0
    for number, (kind, storage, types) in enumerate(contents, 1):
        items = []
        for type_ in types:
            item += 1
            usable = {"usable_until": "2099-01-01"} if "toxicology" in type_ else {}
            items.append({"item": item, "type": type_, **usable})
        packages.append(
            {"package": number, "kind": kind, "storage": storage, "seal": f"S-{number}", "items": items}
        )
    done = nurse.do(
        "kits",
        examined_at=examined_at.isoformat().replace("+00:00", "Z"),
        age_class=age_class,
        packages=packages,
        agreement={"form_digest": hashlib.sha256(b"a signed form").hexdigest(), "language": "fr"},
        hospital_reference="INVENTED-7",
    )
    assert set(done["card"]) == {"code", "secret"}
    return str(done["kit"])


def refs(kit: str, *packages: int) -> list[dict[str, Any]]:
    return [{"kit": kit, "package": n, "seal": f"S-{n}"} for n in packages]


def in_hours(desk: Desk, hours: int) -> str:
    now = datetime.fromisoformat(desk.get("me").json()["now"])
    return (now + timedelta(hours=hours)).isoformat()


def printed_codes(pdf: bytes, folder: Path) -> set[str]:
    """What two scanners read on a printed sheet, label by label, as a person holds one at a time."""
    codes: set[str] = set()
    for page in pdf_pages(pdf):
        for code in zxingcpp.read_barcodes(page):
            corners = (code.position.top_left, code.position.bottom_right)
            (left, top), (right, bottom) = ((corner.x, corner.y) for corner in corners)
            label = page.crop((left - QUIET, top - QUIET, right + QUIET, bottom + QUIET))
            assert read_by_zbar(label, folder) == [code.text]
            codes.add(code.text)
    return codes


def altered(bundle: bytes) -> bytes:
    """The same bundle with one letter of one event changed."""
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(bundle)) as old,
        zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"Karel Koerier", b"Carel Koerier"))
    return changed.getvalue()


def bundle_of(magistrate: Desk, kit: str) -> bytes:
    """The signed trail; just recorded events are in the log within a moment."""
    until = time.monotonic() + SIGNED
    while time.monotonic() < until:
        answer = magistrate.get(f"kits/{kit}/bundle", purpose="court")
        if answer.status_code == 200:
            return answer.content
        time.sleep(0.2)
    raise AssertionError(answer.text)


def verified(bundle: bytes, key: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``custody verify`` in an empty folder, with no setting of the service."""
    folder.mkdir()
    (folder / "trail.zip").write_bytes(bundle)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CUSTODY_")}
    return subprocess.run(
        [sys.executable, "-m", "desk.cli", "verify", "trail.zip", "--key", key],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def to_the_store(nurse: Desk, custodian: Desk, kit: str) -> None:
    """Two packages go with a courier, one straight into the freezer; all are accepted and stored."""
    nurse.do(
        "hand-overs/offers",
        packages=refs(kit, 2, 3),
        organisation="zsg-sterrenberg",
        due_at=in_hours(nurse, 4),
    )
    nurse.do(
        "hand-overs/couriers",
        packages=refs(kit, 2, 3),
        courier="Karel Koerier",
        courier_organisation="Koerier Vliegensvlug",
        signature=hashlib.sha256(b"a signature").hexdigest(),
    )
    nurse.do("packages/store", packages=refs(kit, 1), place="freezer-1")
    custodian.do("hand-overs/acceptances", packages=refs(kit, 2, 3))
    custodian.do("packages/store", packages=refs(kit, 2), place="shelf-1")
    custodian.do("packages/store", packages=refs(kit, 3), place="fridge-1")


def test_a_kit_goes_from_the_examination_room_to_the_prosecution_file(
    desk: Callable[[str], Desk], tmp_path: Path
) -> None:
    nora, casper, coraline = desk("nora"), desk("casper"), desk("coraline")
    oscar, magda = desk("oscar"), desk("magda")
    kit = new_kit(nora, datetime.now(UTC) - timedelta(hours=2))

    nora.do("labels/prints", kit=kit)
    codes = printed_codes(nora.get(f"kits/{kit}/labels.pdf").content, tmp_path)
    assert len(codes) == 1 + 3 + 12
    scanned = [nora.get("scan", code=code).json() for code in sorted(codes)]
    assert {s["kit"] for s in scanned} == {kit}
    assert not any(s["voided"] for s in scanned)

    to_the_store(nora, casper, kit)
    assert magda.get(f"kits/{kit}", purpose="court").status_code == 404

    nora.do("reports", kit=kit, how="in_person")
    asked = oscar.post("requests", pv="PV.99.L9.000001/2026", centre="zsg-sterrenberg")
    assert asked.status_code == 202
    assert asked.json()["answer"] == "received"
    (request,) = (r["id"] for r in coraline.get("worklists").json()["requests"])
    proposal = nora.propose("requests/answers", request=request, kit=kit, how="match")
    coraline.sign(proposal)
    coraline.do(
        "links",
        kit=kit,
        pv="PV.99.L9.000001/2026",
        notice="NO.99.99.1/26",
        office="parket-avondland",
        zone="pz-morgenland",
        request=request,
    )
    casper.do(
        "hand-overs/offers",
        packages=refs(kit, 1, 2, 3),
        organisation="pz-morgenland",
        due_at=in_hours(casper, 8),
    )
    oscar.do("hand-overs/acceptances", packages=refs(kit, 1, 2, 3))
    assert coraline.get(f"kits/{kit}", purpose="task").json()["legal"] == "released"

    bundle = bundle_of(magda, kit)
    key = magda.get("log/key").json()["key"]
    checked = verified(bundle, key, tmp_path / "court")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert verified(altered(bundle), key, tmp_path / "elsewhere").returncode != 0


def test_the_demo_has_a_kit_that_a_newer_version_of_its_policy_keeps_longer(
    desk: Callable[[str], Desk],
) -> None:
    told = desk("coraline").get("policies/longer").json()["kits"]
    assert {(each["policy"], each["newer"]) for each in told} == {("belgium/1", "belgium/2")}
    assert all(each["ends"] < each["would_end"] for each in told)


def let_pass(desk: Desk, days: int) -> None:
    assert desk.client.post("/demo/clock", json={"days": days}).status_code == 204


def wait_until(desk: Desk, kit: str, retention: str) -> None:
    """The scheduled check has moved the kit on."""
    until = time.monotonic() + SIGNED
    while time.monotonic() < until:
        now = desk.get(f"kits/{kit}", purpose="review").json()["retention"]
        if now == retention:
            return
        time.sleep(0.3)
    raise AssertionError(f"the term is {now}, not {retention}")


def test_a_term_that_is_over_ends_in_a_disposal_by_three_people(
    desk: Callable[[str], Desk], tmp_path: Path
) -> None:
    nora, nils = desk("nora"), desk("nils")
    casper, cleo, coraline = desk("casper"), desk("cleo"), desk("coraline")
    kit = new_kit(nora, datetime.now(UTC) - timedelta(hours=1))
    nora.do("labels/prints", kit=kit)
    trail = nora.get(f"kits/{kit}/custody-trail", purpose="review").json()["events"]
    printed = [label["code"] for event in trail for label in event["event"].get("labels", ())]
    to_the_store(nora, casper, kit)

    let_pass(coraline, 140)
    nora, nils, casper = desk("nora"), desk("nils"), desk("casper")
    cleo, coraline = desk("cleo"), desk("coraline")
    wait_until(nora, kit, "notice_due")
    nora.do("notices/attempts", kit=kit, how="not_wanted")
    early = casper.post("disposals/proposals", kit=kit)
    assert early.status_code == 409, early.text

    let_pass(coraline, 66)
    nora, nils, casper = desk("nora"), desk("nils"), desk("casper")
    cleo, coraline = desk("cleo"), desk("coraline")
    wait_until(nora, kit, "expired")
    told = casper.get(f"kits/{kit}/disposal", purpose="review").json()
    assert told["eligible"], [c["says"] for c in told["conditions"] if not c["met"]]
    casper.do("disposals/proposals", kit=kit)
    coraline.do("disposals/approvals", kit=kit)
    labels = [code for code in printed if "-K-" not in code]
    act = {"packages": refs(kit, 1, 2, 3), "labels": labels, "observer": "hanna"}
    proposal = cleo.propose("disposals", **act)
    own = cleo.post(f"proposals/{proposal}/signatures")
    assert own.status_code == 409, own.text
    instead = nils.post(f"proposals/{proposal}/signatures")
    assert instead.status_code == 409, instead.text
    hanna = desk("hanna")
    (asked,) = hanna.get("disposals/observations").json()["observations"]
    assert [code[-3:] for code in asked["packages"]] == ["P01", "P02", "P03"]
    assert hanna.post(f"disposals/observations/{proposal}").status_code == 201

    gone = coraline.get(f"kits/{kit}", purpose="review").json()
    assert gone["retention"] == "disposed"
    assert {p["state"] for p in gone["packages"].values()} == {"destroyed"}
    late = nora.post("reports", kit=kit, how="in_person")
    assert late.status_code == 409, late.text
    bundle = bundle_of(coraline, kit)
    key = coraline.get("log/key").json()["key"]
    checked = verified(bundle, key, tmp_path / "proof")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    certificate = coraline.get(f"kits/{kit}/certificate", purpose="review").content
    checked = verified(certificate, key, tmp_path / "certificate")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "observed by Hanna Heelmeester" in checked.stdout
