"""Engines that several test modules share."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import generations
from tests.support.bundles import busybox_rootfs
from tests.support.docker import Docker, running
from tests.support.generations import HERE, Machine
from tests.support.places import short_place
from tests.support.runtimes import HOOKRUN

IMAGE = "hookrun-test"


@pytest.fixture(scope="session")
def image_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image of the engine tests holds."""
    rootfs = busybox_rootfs(tmp_path_factory.mktemp("image"))
    (rootfs / "data").write_text("not executable\n")
    return rootfs


@pytest.fixture(
    scope="session",
    params=[HERE.release, *(pytest.param(release, marks=pytest.mark.later) for release in generations.LATER)],
)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The engines of each generation in turn: this host's, and those of the later Debians."""
    with generations.running(request.param) as machine:
        yield machine


@pytest.fixture(scope="module")
def place(machine: Machine) -> Iterator[Path]:
    """A directory for what is on one machine: sockets, and the configuration of an engine."""
    with short_place("hrd-") as place:
        yield place


@pytest.fixture(scope="session")
def docker(machine: Machine, image_rootfs: Path) -> Iterator[Docker]:
    """A dockerd that knows hookrun beside runc, with the image of the engine tests."""
    # Sockets' paths are short: not below pytest's own directories.
    directory = Path(tempfile.mkdtemp(prefix="hrd-", dir="/var/tmp"))
    config = directory / "daemon.json"
    config.write_text(json.dumps({"runtimes": {"hookrun": {"path": str(HOOKRUN)}}}))
    try:
        with running(Docker(directory, config, machine=machine), image_rootfs, IMAGE) as daemon:
            yield daemon
    finally:
        subprocess.run(["rm", "-rf", str(directory)], stdin=subprocess.DEVNULL, check=False, timeout=120)
        shutil.rmtree(directory, ignore_errors=True)
