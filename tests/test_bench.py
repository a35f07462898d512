"""The benchmarks run: with few events, without waiting for the disk, and nothing is said about speed."""

import importlib
import re

import pytest

from tests.bench import ground
from tests.conftest import FAST

SMALL = {
    "check": ["--short=200", "--long=400", "--due=100", "--rounds=1"],
    "append": ["--clients=1,2", "--seconds=0.05", "--rounds=1"],
    "latency": ["--rate=200", "--seconds=0.5"],
    "proof": ["--short=300", "--long=600", "--proofs=5"],
    "invisible": ["--pairs=3", "--kits=2"],
    "verify": ["--leaves=700", "--events=20", "--rounds=1"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_comes_to_its_table(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ground, "SETTINGS", FAST)
    monkeypatch.setattr("sys.argv", [name, *SMALL[name]])
    importlib.import_module(f"tests.bench.{name}").main()
    assert re.search(r"│ .*\d(/s| ms) ", capsys.readouterr().out)
