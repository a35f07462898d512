"""A private key that a program keeps: real programs, good and bad; nothing is ever half-signed."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit import keybox, sign
from audit.key import ED25519, ML_DSA_44, SigningKey, VerifierKey, open_note
from audit.keybox import CommandKey, Keybox, create_keys, lay_keys, open_box, read_box, write_box
from audit.sign import NoSignature, Signer
from audit.text import Malformed
from tests.audit.whole_log import checkpoints, digests, grow
from tests.conftest import Engines

ORIGIN = "custody.example/log"
SEED = bytes(range(32))

# The programs, as an operator would have one: the seed is theirs, the message comes on standard input.
GOOD = """
import sys
from cryptography.hazmat.primitives.asymmetric.{module} import {algorithm}PrivateKey
seed = bytes(range(32))
key = {algorithm}PrivateKey.{made}(seed)
sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))
"""
BAD = {
    "signs something else": "import sys; sys.stdout.buffer.write(bytes(64))",
    "prints nothing": "pass",
    "prints half a signature": "import sys; sys.stdout.buffer.write(bytes(31))",
    "prints without end": "import sys\nwhile True: sys.stdout.buffer.write(bytes(65536))",
    "dies": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "ends with an error": "import sys; sys.stdout.buffer.write(bytes(64)); sys.exit(3)",
    "never answers": "import time; time.sleep(3600)",
    "leaves a child that holds its output": (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])"
    ),
}
HOW = {
    "signs something else": "not its own",
    "prints nothing": "not its own",
    "prints half a signature": "not its own",
    "prints without end": "printed more than",
    "dies": "ended with status -15",
    "ends with an error": "ended with status 3",
    "never answers": "did not answer within",
    "leaves a child that holds its output": "not its own",
}

SLOW = ("never answers", "leaves a child that holds its output")

Program = Callable[[str], tuple[str, ...]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Writes a program and answers how it is run."""

    def written(source: str) -> tuple[str, ...]:
        path = tmp_path / f"program {len(list(tmp_path.glob('program*')))}.py"  # a space, as paths may have
        path.write_text(source)
        return (sys.executable, str(path))

    return written


def good(program: Program, key_type: int) -> CommandKey:
    ed25519 = {"module": "ed25519", "algorithm": "Ed25519", "made": "from_private_bytes"}
    mldsa = {"module": "mldsa", "algorithm": "MLDSA44", "made": "from_seed_bytes"}
    source = GOOD.format(**(ed25519 if key_type == ED25519 else mldsa))
    return CommandKey(SigningKey(ORIGIN, SEED, key_type).verifier, program(source))


@contextmanager
def box_with(folder: Path, *keys: CommandKey | SigningKey) -> Iterator[Keybox]:
    path = folder / "signer" / "events.key"
    if not path.exists():
        create_keys(path, ORIGIN)
    lay_keys(path, keys)
    with open_box(path) as box:
        yield box


async def at_work(engines: Engines, box: Keybox) -> Signer:
    await sign.initialise(engines.clerk, "events", box)
    signer = Signer("events", box)
    await signer.check(engines.clerk)
    await grow(engines.superuser, engines.clerk, digests(0, 3))
    return signer


def test_the_line_of_a_program_is_written_and_read_again(program: Program) -> None:
    key = good(program, ED25519)
    other = SigningKey(ORIGIN, SEED, ML_DSA_44)
    assert read_box(write_box((key, other))) == (key, other)
    with pytest.raises(Malformed, match="missing"):
        read_box(f"COMMAND {key.verifier.written()} \n{other.written()}\n")
    with pytest.raises(Malformed, match="cannot be read"):
        read_box(f"COMMAND {key.verifier.written()} 'open\n{other.written()}\n")


@pytest.mark.anyio
async def test_programs_sign_with_both_algorithms_what_the_keys_themselves_would(
    engines: Engines, tmp_path: Path, program: Program
) -> None:
    with box_with(tmp_path, good(program, ED25519), good(program, ML_DSA_44)) as box:
        assert "PRIVATE" not in box.path.read_text()
        signer = await at_work(engines, box)
        signed = await signer.sign(engines.clerk)
        public = [SigningKey(ORIGIN, SEED, each).verifier for each in (ED25519, ML_DSA_44)]
        assert open_note(box.last_note() or b"", public) == signed
        assert await checkpoints(engines.auditor, public) == [0, 3]


@pytest.mark.anyio
@pytest.mark.parametrize("fault", BAD)
async def test_a_program_that_fails_ends_the_step_and_the_next_attempt_signs(
    engines: Engines, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The second key is the one that fails, so the first has signed by then; nothing of it may be kept."""
    other = SigningKey(ORIGIN, SEED, ML_DSA_44)
    well = good(program, ED25519)
    with box_with(tmp_path, other, well) as box:
        await at_work(engines, box)
        before = box.last_note()
    bad = CommandKey(well.verifier, program(BAD[fault]))
    with box_with(tmp_path, other, bad) as box:
        signer = Signer("events", box)
        await signer.check(engines.clerk)
        with monkeypatch.context() as patch:
            patch.setattr(keybox, "_ANSWER_WITHIN", 1.0 if fault in SLOW else 60.0)
            with pytest.raises(NoSignature, match=HOW[fault]):
                await signer.sign(engines.clerk)
        assert box.last_note() == before
        assert await checkpoints(engines.auditor, box.verifiers) == [0]

        # Nothing was written, so nothing has to be checked: with the program well again, the signer goes on.
        shutil.copy(well.command[1], bad.command[1])
        signed = await signer.sign(engines.clerk)
        assert signed is not None
        assert signed.size == 3
        assert await checkpoints(engines.auditor, box.verifiers) == [0, 3]


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    key = CommandKey(verifier(), (str(tmp_path / "none"),))
    with pytest.raises(keybox.BoxRefused, match=f"{shlex.quote(str(tmp_path))}/none.*could not be run"):
        key.sign(b"message")


def verifier() -> VerifierKey:
    return SigningKey(ORIGIN, SEED).verifier


def test_a_program_that_does_not_read_its_message_may_still_answer(program: Program) -> None:
    key = CommandKey(verifier(), program("import sys; sys.stdout.buffer.write(b'x' * 64)"))
    assert key.sign(bytes(200_000)) == b"x" * 64
