"""What the tests of checkpoints share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import Saved
from tests.support import criu
from tests.support.bundles import Bundle


@pytest.fixture
def working_criu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime finds a CRIU that works."""
    if Path("/suite/suite.sh").exists():
        pytest.skip("the virtual machine has no network to get a CRIU by")
    monkeypatch.setenv("PATH", criu.path())
    if criu.problem():
        pytest.skip(f"CRIU does not work on this kernel: {criu.problem()}")


@pytest.fixture
def saved(bundle: Bundle) -> Saved:
    return Saved(bundle.path / "images", bundle.path / "work")
