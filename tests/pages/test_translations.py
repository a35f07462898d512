"""The catalogue of messages holds every text that people are shown, so that it can be translated."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from babel.messages.pofile import read_po

from custody.kit import Kit
from custody.protocol import Legal
from retention.eligibility import RequestSeen, eligibility

PROJECT = Path(__file__).parents[2]
CATALOGUE = PROJECT / "desk" / "translations" / "messages.pot"
AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
COMMAND = (
    "extract -q -F desk/translations/babel.cfg --no-location --omit-header --sort-output"
    " -k Refused -k NotPermitted -k _condition:4"
)


def texts_in(path: Path) -> set[object]:
    with path.open("rb") as file:
        return {message.id for message in read_po(file) if message.id}


def test_the_catalogue_holds_every_text_of_the_code(tmp_path: Path) -> None:
    fresh = tmp_path / "messages.pot"
    command = [sys.executable, "-m", "babel.messages.frontend", *COMMAND.replace(" -q", "").split()]
    subprocess.run([*command, "-o", str(fresh), "."], cwd=PROJECT, check=True, capture_output=True)
    told = f"make it anew: pybabel {COMMAND} -o desk/translations/messages.pot ."
    assert texts_in(fresh) - texts_in(CATALOGUE) == set(), told


def test_a_refusal_of_the_rules_stands_in_the_catalogue() -> None:
    assert "The kit is held; nothing leaves it." in texts_in(CATALOGUE)
    assert "What waits for you" in texts_in(CATALOGUE)
    assert "No hand-over is open." in texts_in(CATALOGUE)


def test_the_conditions_of_a_disposal_stand_in_the_catalogue_met_or_not() -> None:
    kit = Kit(number="000000000000", centre="c", examined_on=date(2026, 1, 1), registered_at=AT)
    waiting = RequestSeen(id="ab" * 16, zone="Zone", received_at=AT)
    answered = replace(waiting, how="no_match", answered_at=AT)
    said = {condition.says for condition in eligibility(kit, AT)}
    linked = replace(kit, legal=Legal.LINKED)
    said |= {condition.says for condition in eligibility(linked, AT, (waiting, answered))}
    assert said <= texts_in(CATALOGUE)
