"""What the tests of the packages share: the sources alone, the packages built from them, and a host to put them on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node import Node, copy_of_this_host
from tests.support.runtimes import CHECKOUT

PARTS = (
    "wrapper",
    "hooks",
    "policies",
    "runtime",
    "packaging",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)


def call(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def copy_sources(place: Path) -> Path:
    """The sources alone: a build leaves files beside them."""
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("__pycache__", "bin"))
        else:
            shutil.copy(source, place)
    for fetched in (CHECKOUT / ".venv").glob("simplejson-*.tar.gz"):
        shutil.copy(fetched, place / "packaging")
    return place


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def tarball(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, which every package is built from."""
    return Path(call("sh", sources / "packaging/sdist.sh", tmp_path_factory.mktemp("sdist")).strip())


@pytest.fixture(scope="session")
def deb(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(call("sh", sources / "packaging/build-deb.sh", tmp_path_factory.mktemp("deb")).strip())


@pytest.fixture
def node() -> Iterator[Node]:
    """A copy of this host that nothing of hookrun was installed on."""
    place = Path(tempfile.mkdtemp(prefix="hr-node-", dir="/var/tmp"))
    with copy_of_this_host(place) as made:
        yield made
    place.rmdir()
