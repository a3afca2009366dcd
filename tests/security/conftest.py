"""Tools of the attackers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.admin import launcher
from tests.support.runtimes import Runtime


def compile_static(source: str, program: Path) -> None:
    """Build a C program that needs nothing of the root it will run in."""
    subprocess.run(
        ["gcc", "-static", "-O1", "-w", "-x", "c", "-o", program, "-"], input=source.encode(), check=True, timeout=120
    )


@pytest.fixture
def sealed_hookrun(tmp_path: Path) -> Iterator[Runtime]:
    """hookrun as it is registered with engines: by a launcher with a sealed program."""
    state = tmp_path / "state"
    state.mkdir()
    launcher.install(state, "hookrun")
    runtime = Runtime(state / "launchers/hookrun", tmp_path / "sealed-root")
    yield runtime
    runtime.delete_all()
    subprocess.run(
        ["umount", "-l", state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
