"""`pip install .` puts a working hookrun and hookctl on the path; the demo runs and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import CHECKOUT, Runtime

PARTS = ("wrapper", "hooks", "policies", "runtime", "packaging", "pyproject.toml", "README.md", "LICENSE")


def call(*words: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone: a build leaves files beside them."""
    place = tmp_path_factory.mktemp("source")
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    return place


@pytest.fixture(scope="module")
def installed(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bin directory of a fresh virtual environment that hookrun was installed into."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    call("/usr/bin/python3", "-m", "venv", venv)
    call(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", copy)
    yield venv / "bin"


def test_both_programs_answer(installed: Path) -> None:
    assert call(installed / "hookrun", "--version").startswith("hookrun version ")
    assert call(installed / "hookctl", "--version").startswith("hookctl version ")


def test_the_installed_hookrun_runs_a_container(installed: Path, bundle: Bundle, tmp_path: Path) -> None:
    runtime = Runtime(installed / "hookrun", tmp_path / "root")
    assert runtime.run(bundle.shell("echo hello; exit 3").path)[:2] == (3, "hello\n")


def test_the_installed_hookctl_registers_it(installed: Path, bundle: Bundle, tmp_path: Path) -> None:
    state = tmp_path / "state"
    ctl = [installed / "hookctl", "--config", tmp_path / "etc", "--state", state]
    call(*ctl, "engine", "register", "docker", "--daemon-json", tmp_path / "daemon.json")
    runtime = Runtime(state / "launchers/hookrun", tmp_path / "root")
    try:
        assert runtime.run(bundle.shell("exit 4").path).status == 4
    finally:
        subprocess.run(["umount", "-l", state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_the_library_of_policies_is_installed(installed: Path) -> None:
    packages = next((installed.parent / "lib").glob("python3*/site-packages/hookrun/policies/library"))
    names = {path.name for path in packages.glob("*.yaml")}
    assert names == {path.name for path in (CHECKOUT / "policies/library").glob("*.yaml")}
    assert names


def test_the_demo(tmp_path: Path) -> None:
    before = leaks.mounts()
    shown = call("sh", CHECKOUT / "packaging/demo.sh", cwd=tmp_path)
    for words in ("hello from the container", "GREETING=from-the-policy", '"status":"creating"', "run --bundle", "/hostname"):
        assert words in shown
    assert leaks.mounts() == before
    assert [name for name in os.listdir("/var/tmp") if "demo" in name] == []
