"""The benches run, each for a round or two, and a slowdown between two releases is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import results
from tests.bench.__main__ import BENCHES
from tests.support.runtimes import CHECKOUT

FEWEST = {"scale": 21}


@pytest.mark.parametrize("bench", BENCHES)
def test_a_round(bench: str, tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        f"tests.bench.{bench}",
        "--rounds",
        str(FEWEST.get(bench, 2)),
        "--markdown",
        str(tmp_path / "table.md"),
    ]
    env = {**os.environ, "HOOKRUN_BENCH_CALLS": "2000"}
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, cwd=CHECKOUT, env=env
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "table.md").read_text()
    assert dict(results.ratios(text)) or bench == "record", text


def test_a_slowdown_is_told() -> None:
    head = "| | hookrun | runc | hookrun / runc |\n| --- | ---: | ---: | ---: |\n"
    before = head + "| create | 20.0 | 25.0 | 0.80 |\n| start | 9.0 | 6.0 | 1.50 |\n"
    after = head + "| create | 25.0 | 25.0 | 1.00 |\n| start | 9.1 | 6.0 | 1.52 |\n| new | 2.0 | 1.0 | 2.00 |\n"
    assert results.slower(before, after) == ["create, hookrun / runc: 0.80 -> 1.00"]
    assert results.slower("", after) == []
