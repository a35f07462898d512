"""The log as others see it: what is published is open to everybody, and nothing beyond it shows."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log as logs
from audit import merkle, publish, sign, static, tile
from audit.checkpoint import Checkpoint
from audit.key import VerifierKey, open_note, read_keys, write_keys
from audit.keybox import open_box
from audit.note import Note
from audit.proof import Proof
from audit.publish import padding_digest
from audit.sign import Signer
from audit.tile import Place, Tiles
from custody.people import Actor, Function
from desk.api.log import LONGEST_WAIT, preferred_wait
from desk.export import export
from desk.keys import LOGS, public_keys, publish_keys, signing_keys
from tests.custody.story import ANALYST, CENTRE, MAGISTRATE, NURSE, OFFICER, engine
from tests.desk.conftest import Desk, Person

SLOT = datetime(2031, 3, 4, tzinfo=UTC)


class Clerk:
    """What the clerk does to the logs, at the moment the test says so."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.slot = SLOT

    def settle(self) -> int:
        """Integrate and sign both logs; how many leaves of the log of events are signed."""

        async def settle(clerk: AsyncEngine, signer: Signer) -> None:
            async with clerk.begin() as transaction:
                await logs.integrate(transaction, signer.name)
            await signer.sign(clerk)

        return asyncio.run(self._work(settle))

    def publish(self) -> int:
        """Publish both logs in the next slot; how many leaves of the log of events are public."""
        self.slot += timedelta(days=1)

        async def out(clerk: AsyncEngine, signer: Signer) -> None:
            assert await publish.publish(clerk, signer, self.slot) is not None

        return asyncio.run(self._work(out))

    async def _work(self, what: Callable[[AsyncEngine, Signer], Awaitable[None]]) -> int:
        clerk, settings = engine(self.desk.database.url("clerk")), self.desk.settings
        try:
            for log in LOGS:
                with open_box(signing_keys(settings.keys, log, settings.origin)) as box:
                    await sign.initialise(clerk, log, box)
                    signer = Signer(log, box)
                    await signer.check(clerk)
                    publish_keys(settings.keys, log, box.verifiers)
                    await what(clerk, signer)
            async with clerk.connect() as connection:
                return await logs.signed_size(connection, "events") or 0
        finally:
            await clerk.dispose()


@pytest.fixture
def clerk(desk: Desk) -> Clerk:
    return Clerk(desk)


@pytest.fixture
def auditor(desk: Desk) -> Person:
    """Somebody of the oversight, who sees the log and no kit."""
    at, person = "toezicht", "alba"
    desk.record("organisation.registered", f"organisation:{at}", id=at, kind="oversight", name="Toezicht")
    desk.record("person.registered", f"person:{person}", id=person, name="Alba Toezicht")
    desk.record(
        "person.appointed",
        f"person:{person}",
        id=person,
        organisation=at,
        function="auditor",
        **{"from": "2020-01-01"},
    )
    return desk.at(Actor(function=Function.AUDITOR, person=person, name="Alba Toezicht", organisation=at))


def paths(size: int) -> Iterator[str]:
    """Every resource of a log of this size."""
    for place, width in tile.places(size):
        yield tile.write_path(place, width)
    for number in range(-(-size // 256)):
        yield tile.write_entries_path(number, min(256, size - 256 * number))


def everything(client: httpx.Client, prefix: str = "/log") -> dict[str, tuple[int, bytes]]:
    """All that this client can find out: the checkpoint, and every path that logs of these sizes have."""
    asked = {
        f"{prefix}/{path}"
        for size in (*range(1, 60), 255, 256, 257, 511, 512, 513, 769, 1024)
        for path in paths(size)
    }
    asked |= {
        f"{prefix}/checkpoint",
        f"{prefix}/tile/2/000.p/1",
        f"{prefix}/tile/8/000",
        f"{prefix}/tile/x",
        "/log",
    }
    answers = {path: client.get(path) for path in sorted(asked)}
    return {
        path: (answer.status_code, b"" if answer.status_code >= 400 else answer.content)
        for path, answer in answers.items()
    }


# --- the two views ----------------------------------------------------------------------------------------


def test_before_the_first_publication_there_is_no_public_log(desk: Desk, clerk: Clerk) -> None:
    assert clerk.settle() > 0
    found = everything(desk.client())
    assert {status for path, (status, _) in found.items() if path != "/log"} == {404}
    assert desk.at(NURSE).client.get("/log/checkpoint").status_code == 200


def test_anybody_can_check_the_whole_published_log_without_signing_in(desk: Desk, clerk: Clerk) -> None:
    desk.at(NURSE).register(desk.now())
    size = clerk.publish()
    client = desk.client()
    for log, prefix in (("events", "/log"), ("reads", "/log/reads")):
        origin = desk.settings.origin + ("" if log == "events" else "/reads")
        note = client.get(f"{prefix}/checkpoint")
        stated = Checkpoint.read(Note.read(note.content).text)
        assert open_note(note.content, known_keys(desk, log)) == stated
        assert stated.origin == origin
        entries: list[bytes] = []
        stored: dict[Place, bytes] = {}
        for path in paths(stated.size):
            answer = client.get(f"{prefix}/{path}")
            assert answer.status_code == 200, path
            if "entries" in path:
                entries += tile.read_entries(answer.content)
            else:
                stored[tile.read_path(path)[0]] = answer.content
        assert stored == tile.grow(0, {}, [merkle.leaf_hash(entry) for entry in entries])
        assert merkle.root(stated.size, Tiles(stored).read) == stated.root
    assert size % 256 == 0


def known_keys(desk: Desk, log: str) -> tuple[VerifierKey, ...]:
    text = public_keys(desk.settings.keys, log)
    assert text is not None
    return read_keys(text)


def test_a_caller_without_rights_learns_nothing_of_what_happened_since_the_last_slot(
    desk: Desk, clerk: Clerk
) -> None:
    clerk.publish()
    outsiders = [desk.client(), desk.at(OFFICER).client, desk.at(MAGISTRATE).client]
    before = [everything(client) | everything(client, "/log/reads") for client in outsiders]
    for _ in range(3):
        desk.at(NURSE).register(desk.now())
        clerk.settle()
    live = (
        clerk.settle()
        or Checkpoint.read(Note.read(desk.at(NURSE).client.get("/log/checkpoint").content).text).size
    )
    assert live > 256
    after = [everything(client) | everything(client, "/log/reads") for client in outsiders]
    for one, other in zip(before, after, strict=True):
        assert {path: told for path, told in one.items() if path != "/log"} == {
            path: told for path, told in other.items() if path != "/log"
        }


def test_staff_and_auditors_see_the_log_as_it_is_signed_now(
    desk: Desk, clerk: Clerk, auditor: Person
) -> None:
    clerk.publish()
    desk.at(NURSE).register(desk.now())
    live = clerk.settle()
    assert live % 256 != 0
    for client in (desk.at(NURSE).client, auditor.client):
        note = Note.read(client.get("/log/checkpoint").content)
        assert Checkpoint.read(note.text).size == live
        for path in paths(live):
            assert client.get(f"/log/{path}").status_code == 200, path
        assert client.get(f"/log/tile/0/{live // 256:03}.p/{live % 256 - 1}").status_code == 404
        assert client.get(f"/log/tile/0/{live // 256:03}").status_code == 404


def test_a_width_that_no_published_size_has_is_answered_like_what_never_existed(
    desk: Desk, clerk: Clerk
) -> None:
    clerk.publish()
    assert clerk.publish() == 512
    client = desk.client()
    assert [client.get(f"/log/tile/1/000.p/{width}").status_code for width in (1, 2, 3)] == [200, 200, 404]
    never = client.get("/log/tile/7/x999/x999/999.p/1")
    for path in ("tile/0/000.p/1", "tile/0/002", "tile/0/001.p/255", "tile/1/000", "tile/entries/000.p/7",
                 "tile/entries/002.p/1", "tile/0/0", "tile/entries/", "tile/2/000.p/1"):  # fmt: skip
        answer = client.get(f"/log/{path}")
        assert answer.status_code == 404, path
        known = {"instance"}
        assert {k: v for k, v in answer.json().items() if k not in known} == {
            k: v for k, v in never.json().items() if k not in known
        }
        assert len(answer.content) == len(never.content)


def test_what_may_be_kept_and_by_whom_is_said(desk: Desk, clerk: Clerk) -> None:
    clerk.publish()
    public, nurse = desk.client(), desk.at(NURSE).client
    shown = {
        (who, path): client.get(f"/log/{path}").headers
        for who, client in (("public", public), ("nurse", nurse))
        for path in ("checkpoint", "tile/0/000", "tile/entries/000")
    }
    for (who, path), headers in shown.items():
        assert headers["vary"] == "Authorization, Cookie"
        assert headers["cache-control"].startswith("public" if who == "public" else "private")
        if path == "checkpoint":
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert headers["cache-control"] in ("public, max-age=5", "private, no-cache")
        else:
            assert headers["content-type"] == "application/octet-stream"
            assert headers["cache-control"].endswith("max-age=31536000, immutable")
    assert public.get("/log/tile/0/999").headers["cache-control"] == "no-store"


def test_a_token_that_is_refused_is_refused_here_too_and_an_old_cookie_is_nobody(
    desk: Desk, clerk: Clerk
) -> None:
    clerk.publish()
    assert desk.client(authorization="Bearer nonsense").get("/log/checkpoint").status_code == 401
    cookie = desk.client(cookie="custody_session=long-ended").get("/log/checkpoint")
    assert cookie.status_code == 200
    assert cookie.headers["cache-control"].startswith("public")
    session = desk.at(NURSE).client.post("/session").headers["set-cookie"].partition(";")[0]
    assert desk.client(cookie=session).get("/log/checkpoint").headers["cache-control"].startswith("private")


def test_head_is_answered_like_get_without_the_body(desk: Desk, clerk: Clerk) -> None:
    clerk.publish()
    for client in (desk.client(), desk.at(NURSE).client):
        for log in ("/log", "/log/reads"):
            for path in ("checkpoint", "tile/0/000", "tile/entries/000", "tile/0/999", "tile/x"):
                head, get = client.head(f"{log}/{path}"), client.get(f"{log}/{path}")
                assert head.status_code == get.status_code == (404 if path[-1] in "9x" else 200), path
                assert head.content == b""
                for name in ("content-type", "content-length", "cache-control"):
                    assert head.headers[name] == get.headers[name], name


# --- proofs are no window on the live log ------------------------------------------------------------------


@pytest.mark.parametrize("asker", [OFFICER, ANALYST, MAGISTRATE], ids=lambda a: str(a.function))
def test_who_may_not_read_the_live_log_gets_the_same_proof_while_it_grows(
    desk: Desk, clerk: Clerk, asker: Actor
) -> None:
    clerk.publish()
    public = tile.read_entries(desk.client().get("/log/tile/entries/000").content)[7].hex()
    own = desk.at(OFFICER).post("requests", ASKED).json()["receipts"][0]["digest"]
    first = clerk.settle()
    person = desk.at(asker)
    before = [person.client.get(f"/api/receipts/{digest}").content for digest in (public, own)]
    assert [Proof.read(data).checkpoint().size for data in before] == [256, first]
    for data, digest in zip(before, (public, own), strict=True):
        Proof.read(data).check(bytes.fromhex(digest))
    pages = [page_of(person, digest) for digest in (public, own)]
    assert all("It is in the signed log." in shown for shown in pages)
    for _ in range(2):
        desk.at(NURSE).register(desk.now())
        live = clerk.settle()
        assert live > first
        again = [person.client.get(f"/api/receipts/{digest}").content for digest in (public, own)]
        assert again == before
        assert [page_of(person, digest) for digest in (public, own)] == pages
    seen = desk.at(NURSE).client.get(f"/api/receipts/{public}").content
    assert Proof.read(seen).checkpoint().size == live, "staff see the live log"

    clerk.publish()
    for digest in (public, own):
        proof = Proof.read(person.client.get(f"/api/receipts/{digest}").content)
        proof.check(bytes.fromhex(digest))
        assert proof.checkpoint().size == published_size(desk)


ASKED = {"pv": "PV.99.L9.000001/2026", "centre": CENTRE}


def page_of(person: Person, digest: str) -> str:
    """The page of the log, without what differs in each answer."""
    shown = person.client.get(f"/log?digest={digest}", headers={"accept": "text/html"})
    assert shown.status_code == 200
    return shown.text.replace(shown.headers["custody-reference"], "")


def published_size(desk: Desk) -> int:
    return Checkpoint.read(Note.read(desk.client().get("/log/checkpoint").content).text).size


# --- digests only -----------------------------------------------------------------------------------------


def test_the_public_log_holds_digests_only_and_none_that_can_be_guessed(
    desk: Desk, clerk: Clerk, tmp_path: Path
) -> None:
    """Names, kit numbers and event bytes are nowhere; each entry is padding or the digest of salted bytes."""
    nurse = desk.at(NURSE)
    kit = nurse.register(desk.now())["kit"]
    nurse.get(f"kits/{kit}", purpose="scan")
    clerk.publish()
    folder = tmp_path / "public"
    assert export(desk.settings, folder) == 0
    public = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    public += b"".join(body for _, body in everything(desk.client()).values())

    with desk.database.connect("superuser") as connection:
        events = [bytes(row[0]) for row in connection.execute("SELECT bytes FROM custody.event")]
        reads = [bytes(row[0]) for row in connection.execute("SELECT bytes FROM custody.access")]
        salts = [bytes(row[0]) for row in connection.execute("SELECT salt FROM audit.padding")]
        words = words_of(connection)
    assert len(words) > 50
    found = sorted(word for word in words if word.encode() in public)
    assert found == []
    assert not any(data[:40] in public for data in events + reads)
    assert not any(salt in public for salt in salts)

    entries = {entry for prefix in ("", "reads/") for entry in entries_of(folder / prefix)}
    assert entries >= {sha256(data).digest() for data in events + reads}
    assert entries == {sha256(data).digest() for data in events + reads} | {padding_digest(s) for s in salts}
    for data in events + reads:
        stated = json.loads(data)
        salt = stated.pop("salt")
        assert len(bytes.fromhex(salt)) == 16
        assert salt.encode() not in public
        guessed = json.dumps(stated, ensure_ascii=False, separators=(",", ":")).encode()
        assert sha256(guessed).digest() not in entries
    assert len({json.loads(data)["salt"] for data in events + reads}) == len(events + reads)


def words_of(connection: psycopg.Connection) -> set[str]:
    """Every text of five letters or more in every event, record of a reading and register."""
    found: set[str] = set()

    def gather(value: object) -> None:
        if isinstance(value, dict):
            for each in value.values():
                gather(each)
        elif isinstance(value, list):
            for each in value:
                gather(each)
        elif isinstance(value, str) and len(value) >= 5:
            found.add(value)

    for table in ("event", "access"):
        for (data,) in connection.execute(f"SELECT bytes FROM custody.{table}").fetchall():
            gather(json.loads(bytes(data)))
    for table in ("person", "organisation", "kit"):
        for row in connection.execute(f"SELECT to_jsonb(t) FROM custody.{table} AS t").fetchall():
            gather(row[0])
    return found - {"events", "reads"}


def entries_of(folder: Path) -> list[bytes]:
    bundles = sorted((folder / "tile" / "entries").rglob("*"))
    return [entry for path in bundles if path.is_file() for entry in tile.read_entries(path.read_bytes())]


def test_a_quiet_day_and_a_busy_one_look_the_same_from_outside(desk: Desk, clerk: Clerk) -> None:
    def shape() -> dict[str, tuple[int, int]]:
        found = everything(desk.client()) | everything(desk.client(), "/log/reads")
        return {
            path: (status, 0 if "checkpoint" in path else len(body))
            for path, (status, body) in found.items()
            if path != "/log"
        }

    def public_size() -> int:
        return Checkpoint.read(Note.read(desk.client().get("/log/checkpoint").content).text).size

    clerk.publish()
    clerk.publish()
    quiet, size = shape(), public_size()
    assert size == 512
    clerk.publish()
    assert public_size() == 768
    desk.at(NURSE).register(desk.now())
    clerk.settle()
    clerk.publish()
    busy = shape()
    assert public_size() == 1024
    assert {path for path, told in quiet.items() if told[0] == 200} < {
        path for path, told in busy.items() if told[0] == 200
    }


# --- the folder -------------------------------------------------------------------------------------------


def test_the_exported_folder_is_the_public_log_file_for_file(
    desk: Desk, clerk: Clerk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "public"
    assert export(desk.settings, folder) == 1
    assert "has not been published yet" in capsys.readouterr().out
    clerk.publish()
    clerk.publish()
    desk.at(NURSE).register(desk.now())
    clerk.settle()
    assert export(desk.settings, folder) == 0
    client = desk.client()
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".vkey"]
    assert len(files) == 2 * (1 + 2 + 2 + 1)
    for path in files:
        assert client.get(f"/log/{path.relative_to(folder)}").content == path.read_bytes()
    for log in LOGS:
        vkeys = write_keys(known_keys(desk, log))
        assert (folder / f"{log}.vkey").read_text() == vkeys
        place = folder if log == "events" else folder / log
        assert static.check_folder(place, vkeys).holds


# --- receipts that wait -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=2"], 2),
        (["Wait = 3"], 3),
        (['wait="4"'], 4),
        (["respond-async, wait=5; foo=bar"], 5),
        (["respond-async", "wait=6"], 6),
        (["wait=7, wait=1"], 7),
        (["wait=100"], LONGEST_WAIT),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=٣"], None),
        (["wait=99999999999999999999"], None),
        (["waiting=3"], None),
    ],
)
def test_a_wait_is_read_as_rfc_7240_writes_it_and_cut_to_ten_seconds(
    headers: list[str], seconds: int | None
) -> None:
    assert preferred_wait(headers) == seconds


@given(st.lists(st.text(max_size=30), max_size=3))
def test_no_header_makes_anybody_wait_longer_than_ten_seconds(headers: list[str]) -> None:
    found = preferred_wait(headers)
    assert found is None or 0 <= found <= LONGEST_WAIT


def test_who_asks_to_wait_gets_the_proof_as_soon_as_it_is_there(desk: Desk, clerk: Clerk) -> None:
    clerk.settle()
    nurse = desk.at(NURSE)
    digest = nurse.register(desk.now())["receipts"][0]["digest"]
    late: list[int] = []
    later = threading.Timer(0.5, lambda: late.append(clerk.settle()))
    later.start()
    answer = nurse.client.get(f"/api/receipts/{digest}", headers={"prefer": "wait=10"})
    later.join()
    assert late
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    Proof.read(answer.content).check(bytes.fromhex(digest))


def test_when_the_proof_does_not_come_in_time_the_answer_says_so(desk: Desk, clerk: Clerk) -> None:
    clerk.settle()
    nurse = desk.at(NURSE)
    digest = nurse.register(desk.now())["receipts"][0]["digest"]
    begun = time.monotonic()
    answer = nurse.client.get(f"/api/receipts/{digest}", headers={"prefer": "wait=1"})
    assert time.monotonic() - begun >= 1
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert "preference-applied" not in nurse.get(f"receipts/{digest}").headers


def test_those_who_wait_hold_no_connection(desk: Desk, clerk: Clerk) -> None:
    """More people wait than there are connections, and a page is answered at once."""
    clerk.settle()
    nurse = desk.at(NURSE)
    token = nurse.client.headers["authorization"]
    answers: list[int] = []

    def wait() -> None:
        with httpx.Client(base_url=desk.base_url, timeout=60) as client:
            headers = {"prefer": "wait=3", "authorization": token}
            answers.append(client.get(f"/api/receipts/{'0' * 64}", headers=headers).status_code)

    waiting = [threading.Thread(target=wait) for _ in range(40)]
    for each in waiting:
        each.start()
    assert nurse.get("me").status_code == 200
    assert not answers, "a page was answered while all of them waited"
    for each in waiting:
        each.join()
    assert answers == [202] * 40
