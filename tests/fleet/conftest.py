"""A publisher with a fleet of its own, a web server for it, and hosts that follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.admin.fleet import keys
from tests.fleet.fleets import Publisher
from tests.fleet.web import Web, served


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """A fleet without bundles."""
    monkeypatch.setenv(keys.PASSPHRASE, "geheim")
    return Publisher(tmp_path / "publisher")


@pytest.fixture
def web(publisher: Publisher) -> Iterator[Web]:
    with served(publisher.public) as web:
        yield web
