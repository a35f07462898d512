"""The page of the log: who vouches for it, and what is wrong stands first."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import witness
from audit.policy import Policy
from desk.alarm import SILENT_AFTER, alarm_of, beat, end_alarm, raise_alarm, silent_since
from tests.audit import a_witness
from tests.audit.a_witness import AWitness, LogKey
from tests.conftest import Database
from tests.custody.story import MAGISTRATE, NURSE, engine
from tests.desk.conftest import Desk, _people, running, settings_for
from tests.desk.test_public_log import Clerk, known_keys

NOW = datetime(2031, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def out() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def desk(database: Database, tmp_path: Path, out: ExitStack) -> Desk:
    """A web worker that is told of a policy, in a file that is not there yet."""
    listening = socket.create_server(("127.0.0.1", 0))
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    (tmp_path / "policy").write_text("quorum none\n")
    settings = settings_for(database, tmp_path, base_url, witnesses=tmp_path / "policy")
    made: Desk = out.enter_context(running(settings, database, listening))
    asyncio.run(_people(database))
    return made


def first_page(desk: Desk, person: object) -> str:
    return page(desk, person, "/")


def page(desk: Desk, person: object = NURSE, path: str = "/log") -> str:
    answer = desk.at(person).client.get(path, headers={"accept": "text/html"})  # type: ignore[arg-type]
    assert answer.status_code == 200
    return " ".join(answer.text.split())


def test_before_anything_is_signed_the_page_says_so(desk: Desk) -> None:
    shown = page(desk)
    assert "Nothing is signed yet." in shown
    assert 'role="alert"' not in shown


def test_staff_see_how_far_it_is_signed_and_others_only_what_is_public(desk: Desk) -> None:
    clerk = Clerk(desk)
    clerk.publish()
    desk.at(NURSE).register(desk.now())
    live = clerk.settle()
    assert f"<dt>Signed digests</dt><dd>{live}</dd>" in page(desk)
    assert "256 digests, with padding" in page(desk)
    shown = page(desk, MAGISTRATE)
    assert "256 digests, with padding" in shown
    assert f">{live}<" not in shown
    assert f"\n{live}\n" not in shown
    assert "Signed digests" not in shown


def test_who_witnesses_and_whether_that_is_enough_is_shown(
    desk: Desk, tmp_path: Path, out: ExitStack
) -> None:
    clerk = Clerk(desk)
    clerk.publish()
    known = [LogKey.read(key.written()) for key in known_keys(desk, "events")]
    one = out.enter_context(a_witness.running(AWitness("witness.example", tmp_path / "state", known)))
    policy = f"witness Zonneveld {one.vkey()} {one.url}\nquorum Zonneveld\n".encode()
    (tmp_path / "policy").write_bytes(policy)
    assert "too few so far" in page(desk)
    assert "Too few witnesses have cosigned since" not in page(desk)

    async def ask() -> None:
        made = engine(desk.database.url("clerk"))
        try:
            await witness.ask(made, "events", Policy.read(policy))
        finally:
            await made.dispose()

    asyncio.run(ask())
    shown = page(desk)
    assert ">enough</span>" in shown
    assert "Zonneveld" in shown
    assert "witness.example" in shown, "the cosignature stands in the checkpoint"


def test_a_quorum_missed_for_too_long_stands_first(desk: Desk, tmp_path: Path) -> None:
    clerk = Clerk(desk)
    clerk.publish()
    stranger = AWitness("witness.example", tmp_path / "state", [])
    (tmp_path / "policy").write_text(f"witness Zonneveld {stranger.vkey()}\nquorum Zonneveld\n")
    assert "Too few witnesses have cosigned since" not in page(desk)
    with desk.database.connect("superuser") as connection:
        connection.execute("UPDATE testing.clock_offset SET amount = amount + interval '48 hours'")
    assert page(desk).count("Too few witnesses have cosigned since") == 2


def test_a_policy_that_cannot_be_read_is_said(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("nonsense\n")
    assert "The file that names the witnesses cannot be read." in page(desk)


def test_while_nothing_is_signed_everybody_is_told_and_staff_are_told_why(desk: Desk) -> None:
    raise_alarm(desk.settings.keys, "The database holds 10 leaves.")
    for person in (NURSE, MAGISTRATE):
        shown = page(desk, person)
        assert "Nothing is signed at the moment." in shown
        assert "everything is recorded" in shown
        assert ("The database holds 10 leaves." in shown) is (person is NURSE)
    assert desk.at(NURSE).register(desk.now())["receipts"]
    assert "Nothing is signed at the moment." in first_page(desk, NURSE)
    assert "Nothing is signed at the moment." not in first_page(desk, MAGISTRATE)
    end_alarm(desk.settings.keys)
    assert "Nothing is signed at the moment." not in page(desk)


def test_a_clerk_that_has_fallen_silent_is_seen(desk: Desk) -> None:
    now = datetime.now(UTC)
    desk.settings.keys.mkdir(parents=True, exist_ok=True)
    beat(desk.settings.keys, "events 1 reads 1", now)
    assert "was last heard of" not in page(desk)
    beat(desk.settings.keys, "events 1 reads 1", now - timedelta(hours=1))
    assert "What signs the log was last heard of on" in page(desk)


def test_the_heartbeat_is_read_as_it_is_written(tmp_path: Path) -> None:
    assert silent_since(tmp_path, NOW) is None, "a clerk that never was here is not silent"
    beat(tmp_path, "events 3 reads 4", NOW)
    assert (tmp_path / "clerk.alive").read_text() == "2031-03-04T05:06:00+00:00 events 3 reads 4\n"
    assert silent_since(tmp_path, NOW + SILENT_AFTER) is None
    assert silent_since(tmp_path, NOW + SILENT_AFTER + timedelta(seconds=1)) == NOW
    for nonsense in ("", "yesterday", "2031-03-04T05:06:00"):
        (tmp_path / "clerk.alive").write_text(nonsense)
        assert silent_since(tmp_path, NOW + timedelta(days=1)) is None


def test_an_alarm_is_there_until_signing_goes_on(tmp_path: Path) -> None:
    assert alarm_of(tmp_path / "keys") is None
    raise_alarm(tmp_path / "keys", "The reason.")
    assert alarm_of(tmp_path / "keys") == "The reason."
    end_alarm(tmp_path / "keys")
    end_alarm(tmp_path / "keys")
    assert alarm_of(tmp_path / "keys") is None
    raise_alarm(Path("/dev/null/keys"), "on a disk that takes nothing")
