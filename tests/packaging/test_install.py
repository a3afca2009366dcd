"""pip and pipx put a working hookrun and hookctl on the path; the demo runs and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.packaging.conftest import call
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import CHECKOUT, Runtime


@pytest.fixture(scope="module")
def wheel(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the sdist, which so has all that a build needs."""
    place = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, tarball)
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel in a venv", "sdist by pipx"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the programs of a fresh installation."""
    place = tmp_path_factory.mktemp("installed")
    if request.param == "sdist by pipx":
        return _installed_by_pipx(request.getfixturevalue("tarball"), place)
    call("/usr/bin/python3", "-m", "venv", place / "venv")
    call(place / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", request.getfixturevalue("wheel"))
    return place / "venv/bin"


def _installed_by_pipx(tarball: Path, place: Path) -> Path:
    home = {"HOME": str(place), "PIPX_HOME": str(place / "pipx"), "PIPX_BIN_DIR": str(place / "bin")}
    assert shutil.which("pipx", path="/usr/bin"), "packaging/test.sh installs it"
    call("/usr/bin/pipx", "install", "--python", "/usr/bin/python3", tarball, env={**os.environ, **home})
    return place / "bin"


def test_the_sdist_has_what_the_packages_are_built_from(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = (
        "packaging/install.sh",
        "packaging/man.py",
        "packaging/debian/rules",
        "packaging/launcher/hookrun",
        "policies/README.md",
        "LICENSE",
    )
    assert names.issuperset(needed)
    assert not [name for name in names if "__pycache__" in name]


def test_both_programs_answer(installed: Path) -> None:
    assert call(installed / "hookrun", "--version").startswith("hookrun version ")
    assert call(installed / "hookctl", "--version").startswith("hookctl version ")


def test_the_installed_hookrun_runs_a_container(installed: Path, bundle: Bundle, tmp_path: Path) -> None:
    runtime = Runtime(installed / "hookrun", tmp_path / "root")
    assert runtime.run(bundle.shell("echo hello; exit 3").path)[:2] == (3, "hello\n")


def test_the_installed_hookctl_registers_it(installed: Path, bundle: Bundle, tmp_path: Path) -> None:
    state = tmp_path / "state"
    ctl: list[str | Path] = [installed / "hookctl", "--config", tmp_path / "etc", "--state", state]
    call(*ctl, "engine", "register", "docker", "--daemon-json", tmp_path / "daemon.json")
    runtime = Runtime(state / "launchers/hookrun", tmp_path / "root")
    try:
        assert runtime.run(bundle.shell("exit 4").path).status == 4
    finally:
        subprocess.run(["umount", "-l", state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_the_library_of_policies_is_installed(installed: Path) -> None:
    programs = (installed / "hookctl").resolve().parent
    packages = next((programs.parent / "lib").glob("python3*/site-packages/hookrun/policies/library"))
    names = {path.name for path in packages.glob("*.yaml")}
    assert names == {path.name for path in (CHECKOUT / "policies/library").glob("*.yaml")}
    assert names


def test_the_demo(tmp_path: Path) -> None:
    before = leaks.mounts()
    shown = call("sh", CHECKOUT / "packaging/demo.sh", cwd=tmp_path)
    for words in (
        "hello from the container",
        "GREETING=from-the-policy",
        '"status":"creating"',
        "run --bundle",
        "/hostname",
    ):
        assert words in shown
    assert leaks.mounts() == before
    assert [name for name in os.listdir("/var/tmp") if "demo" in name] == []
