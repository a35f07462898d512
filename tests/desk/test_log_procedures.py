"""Every command of docs/log.md exists, and the lost key's procedure does what it says, step by step."""

import asyncio
import re
import shlex
import shutil
from pathlib import Path

import pytest

from audit.key import NotSigned, open_note, read_keys
from desk.cli import main, parser
from desk.keys import LOGS, public_keys, signing_keys
from desk.settings import environment_of
from tests.conftest import Database, Engines
from tests.custody.story import begin
from tests.desk.signing import ORIGIN, beside, notes, settings_for, sign_all, whole

PAGE = Path(__file__).parents[2] / "docs" / "log.md"


def commands(text: str) -> list[list[str]]:
    """Every `custody …` with arguments: indented lines, and code inside sentences."""
    lines = re.findall(r"^ +(custody .+)$", text, re.MULTILINE) + re.findall(r"`(custody [^`]+)`", text)
    return [shlex.split(line)[1:] for line in lines]


def test_every_command_of_the_page_is_one_of_the_command_line() -> None:
    found = commands(PAGE.read_text(encoding="utf-8"))
    assert len(found) > 8
    for arguments in found:
        if arguments in (["recover"], ["log", "rotate"], ["verify"], ["serve"], ["clerk"]):
            continue  # named in a sentence, without what it needs
        assert parser().parse_args(arguments).command


@pytest.mark.anyio
@pytest.mark.parametrize(
    "heading", ["The private keys are lost", "A private key may have been seen by others"]
)
async def test_the_procedure_for_keys_that_are_gone_works_as_it_is_written(
    engines: Engines, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heading: str
) -> None:
    settings = settings_for(database, tmp_path)
    story = await begin(engines.service, engines.clerk)
    await sign_all(engines.clerk, settings)
    old = {log: read_keys(public_keys(settings.keys, log) or "") for log in LOGS}
    last = beside(settings, "events")
    for log in LOGS:
        shutil.move(signing_keys(settings.keys, log, ORIGIN), tmp_path)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    (command,) = commands(section.split("2. ")[1].split("3. ")[0])
    assert await asyncio.to_thread(main, command) == 0

    await sign_all(engines.clerk, settings)
    await story.registered()
    await sign_all(engines.clerk, settings)
    assert beside(settings, "events").origin == f"{last.origin}/2"
    for log in LOGS:
        newest = (await notes(engines.clerk, log))[-1].written()
        assert open_note(newest, read_keys(public_keys(settings.keys, log) or ""))
        with pytest.raises(NotSigned):
            open_note(newest, old[log])
        await whole(engines.clerk, settings, log)
