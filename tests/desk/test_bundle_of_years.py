"""One bundle after much has happened: publications, a witness, stamps, new keys, a database taken back.

Who has kept nothing but the very first public keys checks it without us.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.key import read_keys
from audit.policy import Policy
from audit.stamp import stamp, unstamped
from audit.witness import ask
from custody import delivery
from custody.bundle import Bundle, fingerprint, read
from custody.commands import Store
from custody.event import decode
from custody.examination import check
from custody.handling import store
from custody.ledger import reading as seen_by
from custody.people import Actor
from desk.keys import public_keys
from desk.settings import Settings
from desk.succession import begin_rotation, finish_rotation, recover_logs
from tests.audit import an_authority
from tests.audit.a_witness import AWitness, LogKey, running
from tests.audit.an_authority import Authority, found, serve
from tests.conftest import Database, Engines
from tests.custody.story import COORDINATOR, NURSE, Story, begin, ref
from tests.desk.signing import NOON, ORIGIN, settings_for, sign_all
from tests.restore import bring_back, copy_of

pytestmark = pytest.mark.anyio

openssl = an_authority.openssl


def quiet(sentence: str) -> None:
    """Where nobody listens."""


@pytest.fixture
def out() -> Iterator[ExitStack]:
    """What runs until the test has ended."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def authority(tmp_path: Path, openssl: str) -> Authority:
    return found(tmp_path / "authority")


async def collected(engine: AsyncEngine, kit: str, who: Actor = COORDINATOR) -> Bundle:
    async with seen_by(engine, who) as connection:
        return read(await delivery.collect(connection, kit))


def known_logs(settings: Settings) -> list[LogKey]:
    return [LogKey.read(key.written()) for key in read_keys(public_keys(settings.keys, "events") or "")]


async def test_the_first_keys_open_what_was_signed_years_of_keys_later(
    engines: Engines, database: Database, tmp_path: Path, authority: Authority, out: ExitStack
) -> None:
    settings = settings_for(database, tmp_path)
    story = await begin(engines.service, engines.clerk)
    kit = await story.registered()
    await sign_all(engines.clerk, settings)
    first_keys = public_keys(settings.keys, "events") or ""
    witness = AWitness("witness.example", tmp_path / "witness.json", known_logs(settings))
    out.enter_context(running(witness))
    url = out.enter_context(serve(authority.answer))

    async def published(day: int) -> None:
        await sign_all(engines.clerk, settings, NOON + timedelta(days=day))
        for line in known_logs(settings):
            if line not in witness.logs:
                witness.logs.append(line)
        policy = Policy.read(f"witness w {witness.vkey()} {witness.url}\nquorum w\n".encode())
        assert (await ask(engines.clerk, "events", policy)).reached  # type: ignore[union-attr]
        size = await unstamped(engines.clerk, "events")
        assert size is not None
        assert await stamp(engines.clerk, "events", size, url, authority.roots)

    await published(0)
    before = await collected(engines.service, kit)
    assert (len(before.anchors), len(before.keys)) == (1, 1)

    await begin_rotation(engines.clerk, settings, "once a year", quiet)
    await published(1)
    await finish_rotation(engines.clerk, settings, "once a year", quiet)
    await published(2)

    await engines.dispose()
    with copy_of(database) as backup:
        await story.registered()
        await sign_all(engines.clerk, settings)
        await engines.dispose()
        bring_back(database, backup)
    await recover_logs(engines.clerk, settings, "the disk failed", quiet)

    await _stored(story, kit)
    await sign_all(engines.clerk, settings)
    made = await collected(engines.service, kit)
    assert made.origin != ORIGIN
    assert [decode(told.event).type for told in made.keys] == [
        "log.opened",
        "log.keys_changed",
        "log.keys_changed",
        "log.recovered",
    ]
    policy = Policy.read(f"witness w {witness.vkey()}\nquorum w\n".encode())
    for keys in (first_keys, public_keys(settings.keys, "events") or ""):
        verdict = check(made, keys, policy, authority.roots)
        assert verdict.holds, [f.words for f in verdict.findings if f.holds is False]
        assert [f.number for f in verdict.findings if f.holds is None] == []
    told = {f.number: f.words for f in check(made, first_keys, policy, authority.roots).findings}
    assert "follow from them by 3 changes of keys" in told[7]
    assert "the log went on under another name" in told[8]
    events = len(made.events)
    assert f"This covers events 1 to {events - 1}, and not event {events}." in told[10]
    assert f"events 1 to {events - 1}: no later than" in told[11]
    assert fingerprint(public_keys(settings.keys, "events") or "") in made.readme.decode()


async def _stored(story: Story, kit: str) -> None:
    """One event after everything else: the kit's package is put into a place."""
    order = Store(packages=(ref(kit, 1),), place="freezer-1")
    await story.do(NURSE, [kit], lambda seen: store(seen, order, NURSE, story.directory))


async def test_a_bundle_keeps_the_anchors_that_say_most_and_leaves_out_the_rest(
    engines: Engines, database: Database, tmp_path: Path, authority: Authority, out: ExitStack
) -> None:
    settings = settings_for(database, tmp_path)
    story = await begin(engines.service, engines.clerk)
    kit = await story.registered()
    url = out.enter_context(serve(authority.answer))
    sizes = []
    for day in range(4):
        if day == 2:
            await story.registered()
        await sign_all(engines.clerk, settings, NOON + timedelta(days=day))
        size = await unstamped(engines.clerk, "events")
        if size is not None and day != 1:
            await stamp(engines.clerk, "events", size, url, authority.roots)
            sizes.append(size)
    made = await collected(engines.service, kit)
    assert [int(anchor.signed.split(b"\n")[1]) for anchor in made.anchors] == [sizes[0], sizes[-1]]
    assert len(sizes) > 1
    verdict = check(made, public_keys(settings.keys, "events"), roots=authority.roots)
    assert verdict.holds
