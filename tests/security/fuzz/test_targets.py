"""Both fuzz targets for a few seconds: enough to show that they run, and to try the kept corpus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtimes import CHECKOUT

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", ["argv", "config"])
def test_a_target_finds_nothing(tmp_path: Path, name: str) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(CORPUS / name, corpus)
    done = subprocess.run(
        [
            CHECKOUT / ".venv/bin/python",
            "-m",
            f"tests.security.fuzz.{name}_target",
            corpus,
            "-runs=20000",
            "-max_total_time=20",
        ],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Done" in done.stdout
