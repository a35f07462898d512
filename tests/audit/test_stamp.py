"""Checkpoints of a real log at a real authority: what is stored, what is refused, what is renewed."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import log, sign, stamp, tables
from audit import token_form as form
from audit.keybox import Keybox, create_keys, open_box
from audit.sign import Signer
from audit.stamp import StampRefused, check, check_chain
from tests.audit import an_authority
from tests.audit.an_authority import Authority, Reply, serve
from tests.audit.whole_log import digests, grow
from tests.conftest import Engines

pytestmark = pytest.mark.anyio

SIZE = 256
NOW = datetime.now(UTC).replace(microsecond=0)
NEXT_YEAR = NOW + timedelta(days=365)

openssl = an_authority.openssl


@pytest.fixture
def authority(tmp_path: Path, openssl: str) -> Authority:
    return an_authority.found(tmp_path / "authority")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Keybox]:
    create_keys(tmp_path / "signer" / "events.key", "custody.example/events")
    with open_box(tmp_path / "signer" / "events.key") as opened:
        yield opened


@pytest.fixture
async def note(engines: Engines, box: Keybox) -> bytes:
    """The note of a signed checkpoint of `SIZE` leaves."""
    await sign.initialise(engines.clerk, "events", box)
    signer = Signer("events", box)
    await signer.check(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(0, SIZE))
    await signer.sign(engines.clerk)
    async with engines.clerk.connect() as connection:
        found = await log.last_checkpoint(connection, "events")
    assert found is not None
    return found


async def stored(engine: AsyncEngine) -> list[tuple[int, bytes, datetime]]:
    c = tables.stamp.c
    async with engine.connect() as connection:
        rows = await connection.execute(select(c.number, c.token, c.stamped_at).order_by(c.number))
        return [(number, bytes(token), at) for number, token, at in rows]


async def keep(engine: AsyncEngine, token: bytes, at: datetime, number: int = 1) -> None:
    """A stamp that was made in the past, as it would have been stored then."""
    async with engine.begin() as transaction:
        row = {"log": "events", "size": SIZE, "number": number, "token": token, "stamped_at": at}
        await transaction.execute(insert(tables.stamp).values(row))


async def test_a_checkpoint_is_stamped_once_and_the_stamp_is_checked_offline_afterwards(
    engines: Engines, note: bytes, authority: Authority
) -> None:
    asked: list[bytes] = []

    def answer(query: bytes) -> bytes:
        asked.append(query)
        return authority.answer(query)

    with serve(answer) as url:
        done = await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
        assert await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots) is None
    assert done is not None
    [(number, token, at)] = await stored(engines.auditor)
    assert (number, at) == (1, done.at)
    assert check(token, note, authority.roots) == done
    assert len(asked) == 1


async def test_only_a_digest_and_a_random_number_leave_the_house(
    engines: Engines, note: bytes, authority: Authority
) -> None:
    asked: list[form.Request] = []

    def answer(query: bytes) -> Reply:
        asked.append(asn1.decode_der(form.Request, query))
        return Reply(status=503)

    with serve(answer) as url:
        for _ in range(2):
            with pytest.raises(StampRefused):
                await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
    first, second = asked
    assert first.imprint.digest == second.imprint.digest
    assert len(first.imprint.digest) == 64
    assert first.nonce != second.nonce
    assert min(first.nonce, second.nonce).bit_length() > 64
    assert first.certificates


async def test_the_last_publication_waits_for_a_stamp_until_it_has_one(
    engines: Engines, note: bytes, authority: Authority
) -> None:
    assert await stamp.unstamped(engines.clerk, "events") is None
    async with engines.clerk.begin() as transaction:
        await transaction.execute(insert(tables.publication).values(log="events", slot=NOW, size=SIZE))
    assert await stamp.unstamped(engines.clerk, "events") == SIZE
    assert await stamp.unstamped(engines.clerk, "reads") is None
    with serve(authority.answer) as url:
        await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
    assert await stamp.unstamped(engines.clerk, "events") is None


async def test_there_is_nothing_to_stamp_where_nothing_was_signed(
    engines: Engines, authority: Authority
) -> None:
    with pytest.raises(StampRefused, match="no signed checkpoint of 9 leaves"):
        await stamp.stamp(engines.clerk, "events", 9, "https://stamps.example", authority.roots)


def by_hand(authority: Authority, query: bytes, note: bytes, at: datetime, **wrong: Any) -> bytes:
    """An answer to `query` that says what it is told to say."""
    parts: dict[str, Any] = {"nonce": asn1.decode_der(form.Request, query).nonce, **wrong}
    token = asn1.decode_der(form.Token, authority.by_hand(note, at, **parts))
    status = form.Status(status=0, words=None, failure=None)
    return asn1.encode_der(form.Answer(status=status, token=token))


def off(*, minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


WRONG: dict[str, tuple[Callable[[Authority, bytes, bytes], bytes | Reply], str]] = {
    "another number": (lambda a, q, n: by_hand(a, q, n, NOW, nonce=7), "another question"),
    "no number": (lambda a, q, n: by_hand(a, q, n, NOW, nonce=None), "another question"),
    "other data": (lambda a, q, n: by_hand(a, q, n + b"\n", NOW), "over other data"),
    "a clock behind": (lambda a, q, n: by_hand(a, q, n, off(minutes=-9)), "off this host's clock"),
    "a clock ahead": (lambda a, q, n: by_hand(a, q, n, off(minutes=9)), "off this host's clock"),
    "a refusal": (lambda a, q, n: a.answer(b"0\0"), "refused to stamp"),
    "garbage": (lambda a, q, n: b"\x30\x80not DER", "cannot be read"),
    "nothing": (lambda a, q, n: b"", "cannot be read"),
    "too much": (lambda a, q, n: bytes(100_000), "too long or too slow"),
    "a page": (lambda a, q, n: Reply(a.answer(q), kind="text/html"), "no time stamp authority"),
    "a redirection": (lambda a, q, n: Reply(status=302, location="https://else.example/"), "answered 302"),
    "a fault": (lambda a, q, n: Reply(a.answer(q), status=500), "answered 500"),
    "less than all": (lambda a, q, n: a.answer(q)[:-1], "cannot be read"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_answer_that_does_not_pass_is_never_stored(
    engines: Engines, note: bytes, authority: Authority, what: str
) -> None:
    make, words = WRONG[what]
    with serve(lambda query: make(authority, query, note)) as url, pytest.raises(StampRefused, match=words):
        await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
    assert await stored(engines.auditor) == []


async def test_a_stamp_of_an_authority_that_was_not_configured_is_never_stored(
    engines: Engines, note: bytes, authority: Authority, tmp_path: Path
) -> None:
    other = an_authority.found(tmp_path / "other")
    with serve(other.answer) as url, pytest.raises(StampRefused, match="do not lead to a given root"):
        await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
    assert await stored(engines.auditor) == []


async def test_an_authority_that_does_not_answer_in_time_is_given_up(
    engines: Engines, note: bytes, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamp, "PATIENCE", 0.2)
    given_up = threading.Event()
    with serve(lambda query: Reply(authority.answer(query), wait=given_up.wait)) as url:
        with pytest.raises(StampRefused, match="does not answer: timed out"):
            await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)
        given_up.set()
    with pytest.raises(StampRefused, match="does not answer"):  # nobody listens there any more
        await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)


@pytest.mark.parametrize("url", ["http://stamps.example/", "ftp://stamps.example/", "file:///etc/passwd"])
async def test_nobody_is_asked_over_a_line_that_can_be_read(
    engines: Engines, note: bytes, authority: Authority, url: str
) -> None:
    with pytest.raises(StampRefused, match="must begin with https://"):
        await stamp.stamp(engines.clerk, "events", SIZE, url, authority.roots)


# --- renewal


@pytest.fixture
def ageing(tmp_path: Path, openssl: str) -> Authority:
    """An authority whose certificate ends in half a year."""
    return an_authority.found(
        tmp_path / "ageing", valid=(timedelta(days=-400), timedelta(days=180)), digest="sha256"
    )


async def test_a_stamp_is_renewed_before_its_certificate_ends_and_then_left_alone(
    engines: Engines, note: bytes, authority: Authority, ageing: Authority
) -> None:
    at = NOW - timedelta(days=300)
    await keep(engines.clerk, ageing.by_hand(note, at), at)
    roots = ageing.roots + authority.roots
    seen: list[tuple[int, int]] = []
    with serve(authority.answer) as url:
        done = await stamp.renew(
            engines.clerk, "events", url, roots, NEXT_YEAR, lambda n, of: seen.append((n, of))
        )
        assert (done.made, done.lost) == (1, ())
        again = await stamp.renew(engines.clerk, "events", url, roots, NEXT_YEAR)
    assert (again.made, again.lost) == (0, ())
    assert seen == [(1, 1)]
    numbers = await stored(engines.auditor)
    assert [number for number, _, _ in numbers] == [1, 2]
    told = check_chain([token for _, token, _ in numbers], note, roots)
    assert told[0].at == at
    assert told[1].expires > NEXT_YEAR


async def test_an_algorithm_that_will_be_weak_is_renewed_too(
    engines: Engines, note: bytes, tmp_path: Path, openssl: str, authority: Authority
) -> None:
    weak = an_authority.found(tmp_path / "weak", key=rsa.generate_private_key(65537, 2048))
    with serve(weak.answer) as url:
        first = await stamp.stamp(engines.clerk, "events", SIZE, url, weak.roots)
    assert first is not None
    assert first.lasts < NOW < NEXT_YEAR < first.expires
    with serve(authority.answer) as url:
        done = await stamp.renew(engines.clerk, "events", url, weak.roots + authority.roots, NEXT_YEAR)
    assert done.made == 1


async def test_a_renewal_that_would_not_last_longer_is_not_stored(
    engines: Engines, note: bytes, ageing: Authority
) -> None:
    with serve(ageing.answer) as url:
        await stamp.stamp(engines.clerk, "events", SIZE, url, ageing.roots)
        with pytest.raises(StampRefused, match="no longer than the one of the log events at 256 leaves"):
            await stamp.renew(engines.clerk, "events", url, ageing.roots, NEXT_YEAR)
    assert len(await stored(engines.auditor)) == 1


async def test_a_stamp_that_was_renewed_too_late_is_named_and_left_as_it_is(
    engines: Engines, note: bytes, authority: Authority, tmp_path: Path, openssl: str
) -> None:
    ended = an_authority.found(tmp_path / "ended", valid=(timedelta(days=-400), timedelta(days=-1)))
    at = NOW - timedelta(days=300)
    await keep(engines.clerk, ended.by_hand(note, at), at)
    with serve(authority.answer) as url:
        done = await stamp.renew(engines.clerk, "events", url, ended.roots + authority.roots, NEXT_YEAR)
    assert done.made == 0
    [lost] = done.lost
    assert "was not renewed in time" in lost
    assert len(await stored(engines.auditor)) == 1


async def test_a_stored_stamp_that_does_not_hold_is_named(
    engines: Engines, note: bytes, authority: Authority
) -> None:
    await keep(engines.clerk, authority.by_hand(note + b".", NOW), NOW)
    with serve(authority.answer) as url:
        done = await stamp.renew(engines.clerk, "events", url, authority.roots, NEXT_YEAR)
    assert done.made == 0
    assert "The stamp of the log events at 256 leaves is not renewed" in done.lost[0]
    assert "over other data" in done.lost[0]
