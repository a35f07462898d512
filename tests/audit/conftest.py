"""A log that is signed, and witnesses that can be started beside it."""

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from audit import sign
from audit.keybox import Keybox, create_keys, open_box
from audit.sign import Signer
from tests.audit import a_witness
from tests.audit.a_witness import AWitness, LogKey, running
from tests.audit.witnessed import ORIGIN, Start
from tests.conftest import Engines


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Keybox]:
    path = tmp_path / "signer" / "events.key"
    create_keys(path, ORIGIN)
    with open_box(path) as opened:
        yield opened


@pytest.fixture
async def signer(engines: Engines, box: Keybox) -> Signer:
    await sign.initialise(engines.clerk, "events", box)
    made = Signer("events", box)
    await made.check(engines.clerk)
    return made


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path, box: Keybox, servers: ExitStack) -> Start:
    """Starts a witness that knows our log: `start("w1")`."""

    def begin(name: str, kinds: tuple[int, ...] = (a_witness.ED25519,), **more: object) -> AWitness:
        made = AWitness(
            name=f"{name}.example",
            state=tmp_path / f"{name}.json",
            logs=[LogKey.read(key.written()) for key in box.verifiers],
            kinds=kinds,
            seed=sha256(name.encode()).digest(),
        )
        for field, value in more.items():
            setattr(made, field, value)
        return servers.enter_context(running(made))

    return begin
