"""What the tests of checkpoints share."""

from __future__ import annotations

import subprocess

import pytest

from tests.runtime.checkpoint_support import Saved
from tests.support import criu
from tests.support.bundles import Bundle


@pytest.fixture
def working_criu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime finds a CRIU that works."""
    monkeypatch.setenv("PATH", criu.path())
    done = subprocess.run(["criu", "check"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"CRIU does not work on this kernel: {done.stderr.strip()}")


@pytest.fixture
def saved(bundle: Bundle) -> Saved:
    return Saved(bundle.path / "images", bundle.path / "work")
