"""The .deb on a Debian with systemd: installed by apt, registered with Docker, rebooted, taken away again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtimes import CHECKOUT
from tests.vm import build, machine
from tests.vm.test_vm import show

pytestmark = pytest.mark.vm
SOURCES = "deb [trusted=yes] file:/suite/files ./\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """hookrun's package, and all that it needs and the machine's disk does not have, as a repository of files."""
    directory = tmp_path / "files"
    directory.mkdir()
    build.run("sh", str(CHECKOUT / "packaging/build-deb.sh"), str(directory))
    (tmp_path / "status").write_bytes(_installed_on(build.system_disk().image))
    _download(next(directory.glob("hookrun_*.deb")), tmp_path / "status", directory)
    index = subprocess.run(
        ["dpkg-scanpackages", "."],
        cwd=directory,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=True,
    )
    (directory / "Packages").write_bytes(index.stdout)
    (directory / "sources.list").write_text(SOURCES)
    return directory


def _installed_on(disk: Path) -> bytes:
    """dpkg's list of what is on a disk, which need not be mounted for that."""
    command = ["debugfs", "-R", "cat /var/lib/dpkg/status", str(disk)]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=True).stdout


def _download(package: Path, status: Path, directory: Path) -> None:
    archives = status.parent / "archives"
    (archives / "partial").mkdir(parents=True)
    options = (f"Dir::State::status={status}", f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root")
    words = ["apt-get", *(word for option in options for word in ("-o", option))]
    build.run(*words, "install", "--yes", "--download-only", "--no-install-recommends", str(package))
    for archive in archives.glob("*.deb"):
        shutil.move(archive, directory)


def test_a_life_with_systemd(repository: Path) -> None:
    outcome = machine.run("sh tests/vm/package.sh", seconds=2400, files=repository)
    show("package", outcome)
    assert outcome.status == 0
