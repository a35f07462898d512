"""`custody log stamp`, and docs/time-stamps.md: its commands are run as a court would run them."""

import asyncio
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import create_async_engine

from audit import sign, tables
from audit.keybox import create_keys, open_box
from audit.sign import Signer
from audit.token import WEAKENING, check, check_chain
from desk.cli import main
from desk.settings import KNOWN
from tests.audit import an_authority
from tests.audit.an_authority import Authority, found, serve
from tests.audit.test_token import DATA, LONG_AGO, NOW, stamped
from tests.audit.whole_log import digests, grow
from tests.conftest import Database

PAGE = (Path(__file__).parent.parent.parent / "docs" / "time-stamps.md").read_text(encoding="utf-8")

openssl = an_authority.openssl

Custody = Callable[..., int]


@pytest.fixture
def authority(tmp_path: Path, openssl: str) -> Authority:
    return found(tmp_path / "authority")


@pytest.fixture
def custody(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Custody:
    """The command line on a database whose log *events* is signed at 5 leaves."""
    asyncio.run(signed(database, tmp_path / "signer" / "events.key"))
    monkeypatch.setenv("CUSTODY_DATA", str(tmp_path / "var"))
    monkeypatch.setenv("CUSTODY_DATABASE_URL", database.url("service").replace("+psycopg", ""))
    monkeypatch.setenv("CUSTODY_CLERK_DATABASE_URL", database.url("clerk").replace("+psycopg", ""))

    def run(*arguments: str, url: str | None = None, roots: bytes = b"") -> int:
        monkeypatch.delenv("CUSTODY_STAMP_URL", raising=False)
        if url is not None:
            (tmp_path / "roots.pem").write_bytes(roots)
            monkeypatch.setenv("CUSTODY_STAMP_ROOTS", str(tmp_path / "roots.pem"))
            monkeypatch.setenv("CUSTODY_STAMP_URL", url)
        return main(["log", "stamp", *arguments])

    return run


async def signed(database: Database, key: Path) -> None:
    create_keys(key, "custody.example/log")
    superuser, clerk = (create_async_engine(database.url(role)) for role in ("superuser", "clerk"))
    with open_box(key) as box:
        await sign.initialise(clerk, "events", box)
        signer = Signer("events", box)
        await signer.check(clerk)
        await grow(superuser, clerk, digests(0, 5))
        await signer.sign(clerk)
    await superuser.dispose()
    await clerk.dispose()


def note_and_tokens(database: Database) -> tuple[bytes, list[bytes]]:
    async def read() -> tuple[bytes, list[bytes]]:
        engine = create_async_engine(database.url("auditor"))
        async with engine.connect() as connection:
            note = await connection.scalar(
                select(tables.checkpoint.c.note).where(tables.checkpoint.c.size == 5)
            )
            rows = await connection.execute(select(tables.stamp.c.token).order_by(tables.stamp.c.number))
            tokens = [bytes(token) for (token,) in rows]
        await engine.dispose()
        assert note is not None
        return note.encode(), tokens

    return asyncio.run(read())


def keep(database: Database, token: bytes) -> None:
    async def put() -> None:
        engine = create_async_engine(database.url("clerk"))
        row = {"log": "events", "size": 5, "number": 1, "token": token, "stamped_at": LONG_AGO}
        async with engine.begin() as transaction:
            await transaction.execute(insert(tables.stamp).values(row))
        await engine.dispose()

    asyncio.run(put())


def test_on_demand_the_last_checkpoint_of_each_log_is_stamped_once(
    custody: Custody, database: Database, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(authority.answer) as url:
        assert custody(url=url, roots=authority.roots) == 0
        told = capsys.readouterr().out
        assert "The checkpoint of the log events of 5 leaves was stamped at" in told
        assert "by CN=Fictional time stamps; renew the stamp before 2036-01-01" in told
        assert "Of the log reads nothing was signed yet" in told
        assert custody(url=url, roots=authority.roots) == 0
    assert "of the log events, of 5 leaves, is stamped already" in capsys.readouterr().out
    note, [token] = note_and_tokens(database)
    assert check(token, note, authority.roots)


def test_without_an_authority_one_sentence_says_what_to_set(
    custody: Custody, capsys: pytest.CaptureFixture[str]
) -> None:
    assert custody() == 1
    assert custody("--renew") == 1
    told = capsys.readouterr().err
    assert told.count("set CUSTODY_STAMP_URL to its address and CUSTODY_STAMP_ROOTS") == 2


def test_what_the_authority_got_wrong_is_told_and_nothing_is_stored(
    custody: Custody, database: Database, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(lambda query: b"no stamp") as url:
        assert custody(url=url, roots=authority.roots) == 1
    assert "The log events was not stamped. The authority's answer cannot be read" in capsys.readouterr().err
    assert note_and_tokens(database)[1] == []


def test_old_stamps_are_renewed_by_the_documented_command(
    custody: Custody,
    database: Database,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ageing = found(tmp_path / "ageing", valid=(timedelta(days=-400), timedelta(days=300)))
    keep(database, ageing.by_hand(note_and_tokens(database)[0], LONG_AGO))
    roots = ageing.roots + authority.roots
    with serve(authority.answer) as url:
        assert custody("--renew", url=url, roots=roots) == 0
        assert "Of the log events, 1 stamps were renewed" in capsys.readouterr().out
        assert custody("--renew", url=url, roots=roots) == 0
        assert "Of the log events, 0 stamps were renewed" in capsys.readouterr().out
    note, tokens = note_and_tokens(database)
    assert len(check_chain(tokens, note, roots)) == 2
    assert "custody log stamp --renew" in PAGE


def test_a_stamp_that_is_lost_is_named_and_the_command_says_so_with_its_exit_code(
    custody: Custody,
    database: Database,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = found(tmp_path / "ended", valid=(timedelta(days=-400), timedelta(days=-1)))
    keep(database, ended.by_hand(note_and_tokens(database)[0], LONG_AGO))
    with serve(authority.answer) as url:
        assert custody("--renew", url=url, roots=ended.roots + authority.roots) == 1
        assert "was not renewed in time" in capsys.readouterr().err
    with serve(lambda query: b"") as url:
        assert custody("--renew", url=url, roots=authority.roots) == 1
        assert "do not lead to a given root" in capsys.readouterr().err


# --- the page


def commands() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        if "custody " not in block:
            yield block


def run(command: str, folder: Path) -> str:
    done = subprocess.run(["/bin/bash", "-c", command], cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture
def anchor(tmp_path: Path, openssl: str) -> Path:
    """A folder as it lies in a bundle: stamped by an authority whose certificate has ended, and renewed."""
    old = found(tmp_path / "old", valid=(timedelta(days=-400), timedelta(days=-1)))
    new = found(tmp_path / "new")
    folder = tmp_path / "0001"
    folder.mkdir()
    first = old.by_hand(DATA, LONG_AGO)
    (folder / "signed.txt").write_bytes(DATA)
    (folder / "stamp-1.tst").write_bytes(first)
    (folder / "stamp-2.tst").write_bytes(new.by_hand(first, NOW - timedelta(days=2)))
    (folder / "roots.pem").write_bytes(old.roots + new.roots)
    return folder


def test_the_commands_of_the_page_show_a_court_the_time_and_that_it_holds(anchor: Path) -> None:
    says, verifies, renewal, ends = commands()
    assert f"Time stamp: {LONG_AGO:%b} {LONG_AGO.day:2} {LONG_AGO:%H:%M:%S %Y} GMT" in run(says, anchor)
    assert "Verification: OK" in run(verifies, anchor)
    assert "Verification: OK" in run(renewal, anchor)
    shown = run(ends, anchor)
    assert "Fictional time stamps" in shown
    assert f"notAfter={NOW - timedelta(days=1):%b}" in shown


@pytest.mark.parametrize("file", ["signed.txt", "stamp-1.tst", "stamp-2.tst"])
def test_the_commands_of_the_page_show_a_court_what_was_altered(anchor: Path, file: str) -> None:
    altered = bytearray((anchor / file).read_bytes())
    altered[len(altered) // 2] ^= 1
    (anchor / file).write_bytes(altered)
    _, verifies, renewal, _ = commands()
    told = [run(verifies, anchor), run(renewal, anchor)]
    assert not all("Verification: OK" in each for each in told)


def test_the_commands_of_the_page_work_on_a_stamp_made_by_openssl(anchor: Path, authority: Authority) -> None:
    (anchor / "stamp-1.tst").write_bytes(stamped(authority))
    (anchor / "roots.pem").write_bytes(authority.roots)
    assert "Verification: OK" in run(list(commands())[1], anchor)


def test_the_page_names_the_settings_and_the_years_that_the_code_knows() -> None:
    for name in re.findall(r"CUSTODY_[A-Z_]+", PAGE):
        assert name in KNOWN
    assert sorted({each.year for each in WEAKENING.values()}) == [2026, 2036]
    assert "below 3000\nbits from 2026, RSA, ECDSA and Ed25519 from 2036" in PAGE
