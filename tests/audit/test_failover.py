"""Two primaries, one box: whatever the order of things, one line of history alone gets signatures.

The old primary and the promoted one are two real databases, copied apart. The signer's box is one: the last
note lies in it, outside both, so whichever is signed first is the one that goes on.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from audit import sign
from audit.keybox import BoxRefused, InUse, Keybox, create_keys, open_box
from audit.sign import CannotSign, Inconsistent, NoteBehind, Rewound, Signer
from tests.audit.whole_log import checkpoints, digests, grow
from tests.conftest import Database, Engines
from tests.restore import copy_of

pytestmark = pytest.mark.anyio

ORIGIN = "custody.example/log"
GROW: Final = ("old grows", "new grows")
SIGN: Final = ("old is signed", "new is signed")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Keybox]:
    path = tmp_path / "events.key"
    create_keys(path, ORIGIN)
    with open_box(path) as opened:
        yield opened


@pytest.fixture
async def primaries(engines: Engines, database: Database, box: Keybox) -> AsyncIterator[dict[str, Engines]]:
    """The old primary, with 5 signed leaves, and the new one that was promoted from its copy."""
    await sign.initialise(engines.clerk, "events", box)
    signer = Signer("events", box)
    await signer.check(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(0, 5))
    await signer.sign(engines.clerk)
    await engines.dispose()
    with copy_of(database) as promoted:
        new = Engines(promoted)
        yield {"old": engines, "new": new}
        await new.dispose()


@pytest.mark.parametrize(
    "order",
    [each for each in permutations((*GROW, *SIGN)) if each.index("old grows") < each.index("new grows")],
    ids=", ".join,
)
async def test_in_whatever_order_both_grow_and_ask_one_line_of_history_is_signed(
    primaries: dict[str, Engines], box: Keybox, order: tuple[str, ...]
) -> None:
    signers = {name: Signer("events", box) for name in primaries}
    for name, engines in primaries.items():
        await signers[name].check(engines.clerk)
    grown = {"old": digests(5, 9), "new": digests(50, 52)}
    for step in (*order, *SIGN):
        name, what = step.split(" ", 1)
        engines = primaries[name]
        if what == "grows":
            await grow(engines.superuser, engines.clerk, grown[name])
            continue
        with suppress(Rewound, Inconsistent):
            await signers[name].sign(engines.clerk)
    sizes = {name: await checkpoints(engines.auditor, box.verifiers) for name, engines in primaries.items()}
    both = [name for name in sizes if sizes[name] != [0, 5]]
    assert len(both) == 1, "exactly one line of history was signed"
    (loser,) = set(primaries) - set(both)
    signed, found = sizes[both[0]][-1], 5 + len(grown[loser])
    with pytest.raises(CannotSign) as refusal:
        await Signer("events", box).check(primaries[loser].clerk)
    assert isinstance(refusal.value, Rewound | Inconsistent)
    assert (refusal.value.signed, refusal.value.found) == (signed, found)


async def test_a_primary_that_comes_back_behind_is_refused_with_both_sizes(
    primaries: dict[str, Engines], box: Keybox
) -> None:
    new = primaries["new"]
    signer = Signer("events", box)
    await signer.check(new.clerk)
    await grow(new.superuser, new.clerk, digests(5, 12))
    await signer.sign(new.clerk)
    with pytest.raises(Rewound) as refused:
        await Signer("events", box).check(primaries["old"].clerk)
    assert (refused.value.signed, refused.value.found) == (12, 5)


async def test_a_second_box_with_an_older_note_cannot_sign_on_the_database_that_went_on(
    primaries: dict[str, Engines], box: Keybox, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    copied.mkdir(mode=0o700)
    for name in ("events.key", "events.note"):
        (copied / name).write_bytes((tmp_path / name).read_bytes())
        (copied / name).chmod(0o600)
    new = primaries["new"]
    signer = Signer("events", box)
    await signer.check(new.clerk)
    await grow(new.superuser, new.clerk, digests(5, 12))
    await signer.sign(new.clerk)
    with open_box(copied / "events.key") as second, pytest.raises(NoteBehind) as refused:
        await Signer("events", second).check(new.clerk)
    assert (refused.value.signed, refused.value.found) == (5, 12)


_HOLDER = """
import sys
from pathlib import Path
from audit.keybox import open_box
with open_box(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_signers_on_one_host_keep_each_other_out_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "events.key"
    create_keys(path, ORIGIN)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUse, match="One signer per log"), open_box(path):
            pytest.fail("the box was opened twice")
        holder.kill()
    with open_box(path) as box:
        assert box.origin == ORIGIN


def test_a_lock_without_its_keys_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "events.lock").touch()
    with pytest.raises(BoxRefused, match="no signing key"), open_box(tmp_path / "events.key"):
        pytest.fail("the box was opened")
