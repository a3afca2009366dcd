"""`hookctl engine register docker`: daemon.json before and after."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runtimes import HOOKCTL, Result


class Bench:
    """hookctl on directories of the test's own."""

    def __init__(self, place: Path) -> None:
        self.state = place / "state"
        self.file = place / "docker/daemon.json"

    def call(self, *words: str) -> Result:
        done = subprocess.run(
            [
                HOOKCTL,
                "--config",
                self.state.parent / "etc",
                "--state",
                self.state,
                "engine",
                *words,
                "--daemon-json",
                self.file,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def register(self, *words: str) -> Result:
        return self.call("register", "docker", *words)

    def given(self, text: str) -> str:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text)
        return text

    @property
    def launcher(self) -> Path:
        return self.state / "launchers/hookrun"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)
    # Path.is_mount() does not see a bind mount within one file system.
    subprocess.run(["umount", "-l", tmp_path / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def test_without_a_file(bench: Bench) -> None:
    assert bench.register().status == 0
    assert json.loads(bench.file.read_text()) == {"runtimes": {"hookrun": {"path": str(bench.launcher)}}}
    assert bench.launcher.stat().st_mode & 0o777 == 0o755
    version = subprocess.run(
        [bench.launcher, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True
    )
    assert version.stdout.startswith("hookrun version ")


def test_the_rest_of_the_file_stays_as_it_is(bench: Bench) -> None:
    before = bench.given(
        '{\n  "zeta": [1, 2],\n  "runtimes": {"kata": {"path": "/usr/bin/kata"}},\n  "alpha": "ä"\n}\n'
    )
    assert bench.register("--default").status == 0
    text = bench.file.read_text()
    found = json.loads(text)
    assert list(found) == ["zeta", "runtimes", "alpha", "default-runtime"]
    assert found["runtimes"]["kata"] == {"path": "/usr/bin/kata"}
    assert found["default-runtime"] == "hookrun"
    assert '\n  "zeta"' in text and "ä" in text
    copies = list(bench.file.parent.glob("daemon.json.hookrun-*"))
    assert [copy.read_text() for copy in copies] == [before]


def test_a_second_time_changes_nothing(bench: Bench) -> None:
    bench.register()
    before = bench.file.read_text()
    result = bench.register()
    assert result.status == 0
    assert "nothing to change" in result.out
    assert bench.file.read_text() == before
    assert list(bench.file.parent.glob("*.hookrun-*")) == []


def test_unregister_takes_away_what_register_put(bench: Bench) -> None:
    before = bench.given('{\n    "debug": true\n}\n')
    bench.register("--default")
    bench.register("--name", "hookrun-audit")
    assert bench.call("unregister", "docker").status == 0
    assert json.loads(bench.file.read_text())["runtimes"].keys() == {"hookrun-audit"}
    assert bench.call("unregister", "docker", "--name", "hookrun-audit").status == 0
    assert bench.file.read_text() == before
    assert list((bench.state / "launchers").iterdir()) == []


def test_runtime_args_are_taken_away(bench: Bench) -> None:
    bench.given(json.dumps({"runtimes": {"hookrun": {"path": str(bench.launcher), "runtimeArgs": ["--x"]}}}))
    assert bench.register().status == 0
    assert json.loads(bench.file.read_text())["runtimes"]["hookrun"] == {"path": str(bench.launcher)}


def test_dry_run_writes_nothing(bench: Bench) -> None:
    before = bench.given('{"debug": true}')
    result = bench.register("--dry-run")
    assert result.status == 0
    assert str(bench.launcher) in result.out
    assert bench.file.read_text() == before
    assert not bench.launcher.exists()


@pytest.mark.parametrize(
    "text", ['{"a": ', "[]", '{"a": 1, "a": 2}', '{"runtimes": []}', "[" * 100000, '{"runtimes": "x"}']
)
def test_a_file_that_is_not_understood_is_left_alone(bench: Bench, text: str) -> None:
    bench.given(text)
    result = bench.register()
    assert result.status == 1
    assert result.err.startswith("hookctl: ")
    assert str(bench.file) in result.err
    assert result.err.count("\n") == 1
    assert bench.file.read_text() == text
    assert not bench.launcher.exists()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "runc", "a b", "-x", ".x"])
def test_names_that_are_none(bench: Bench, name: str) -> None:
    assert bench.register(f"--name={name}").status == 1
    assert not bench.file.exists()
