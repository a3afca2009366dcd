"""What the tests of checkpoints share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import Console, Saved
from tests.support import criu
from tests.support.bundles import Bundle


@pytest.fixture
def working_criu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime finds a CRIU that works."""
    monkeypatch.setenv("PATH", criu.path())
    if criu.problem():
        pytest.skip(f"CRIU does not work on this kernel: {criu.problem()}")


@pytest.fixture
def saved(bundle: Bundle) -> Saved:
    return Saved(bundle.path / "images", bundle.path / "work")


@pytest.fixture
def console() -> Iterator[Console]:
    place = tempfile.mkdtemp(prefix="hr-con-")
    console = Console(Path(place, "socket"))
    yield console
    console.close()
    os.rmdir(place)
