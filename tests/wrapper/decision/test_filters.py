"""Precreate filters: programs between the config and the container."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.errors import Failure
from hookrun.wrapper.decision import filters
from tests.support.runtimes import wait_for


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    path.mkdir()
    return path


def entry(script: Path, text: str, **hook: Any) -> dict[str, Any]:
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return {
        "stages": ["precreate"],
        "hook": {"path": str(script), **hook},
        "when": None,
        "source": "hooks.d",
        "file": "/f",
        "line": 3,
    }


def run(bundle: Path, config: dict[str, Any], *texts: str, **hook: Any) -> dict[str, Any]:
    entries = [entry(bundle.parent / f"filter{number}", text, **hook) for number, text in enumerate(texts)]
    return filters.run(entries, config, str(bundle))[0]


def failure(bundle: Path, text: str, **hook: Any) -> str:
    with pytest.raises(Failure) as problem:
        run(bundle, {}, text, **hook)
    prefix = f"precreate filter {bundle.parent}/filter0 (/f:3): "
    assert problem.value.text.startswith(prefix)
    return problem.value.text.removeprefix(prefix)


def test_each_gets_what_the_one_before_wrote(bundle: Path) -> None:
    config = run(bundle, {"hostname": "one"}, "sed s/one/two/", "sed s/two/three/", "cat")
    assert config == {"hostname": "three"}


def test_the_record_knows_where_it_came_from(bundle: Path) -> None:
    one = entry(bundle.parent / "f", "cat")
    config, (report,) = filters.run([one], {"a": "é"}, str(bundle))
    assert config == {"a": "é"}
    assert report.pop("ms") >= 0
    assert report == {
        "stage": "precreate",
        "path": str(bundle.parent / "f"),
        "source": "hooks.d",
        "file": "/f",
        "line": 3,
    }


def test_it_runs_in_the_bundle_with_its_own_environment(bundle: Path) -> None:
    here = os.getcwd()
    config = run(
        bundle,
        {},
        'echo "{\\"pwd\\": \\"$PWD\\", \\"a\\": \\"$A\\", \\"home\\": \\"$HOME\\", \\"args\\": \\"$1\\"}"',
        env=["A=1"],
        args=["x", "y"],
    )
    assert config == {"pwd": str(bundle), "a": "1", "home": "", "args": "y"}
    assert os.getcwd() == here


def test_a_large_config_goes_through(bundle: Path) -> None:
    config = {"x": ["y" * 1000] * 3000}
    assert run(bundle, config, "cat") == config


def test_one_that_reads_nothing(bundle: Path) -> None:
    assert run(bundle, {"x": "y" * 1_000_000}, "echo '{}'") == {}


@pytest.mark.parametrize("text", ["echo nonsense", "true", "echo '[]'", "echo '{} {}'", "printf '\\377'"])
def test_no_config(bundle: Path, text: str) -> None:
    assert failure(bundle, text).startswith("its output is not a config: ")


def test_one_that_fails_says_why(bundle: Path) -> None:
    assert failure(bundle, "echo '{}'; echo no >&2; echo way >&2; exit 3") == "exit status 3: no way"
    assert failure(bundle, "kill -9 $$") == "signal 9"


def test_one_that_is_not_there(bundle: Path) -> None:
    one = {**entry(bundle.parent / "f", "cat"), "hook": {"path": "/nosuch/filter"}}
    with pytest.raises(Failure, match=r"precreate filter /nosuch/filter .*: no such file or directory"):
        filters.run([one], {}, str(bundle))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_one_that_takes_too_long_is_ended_with_its_children(bundle: Path) -> None:
    started = time.monotonic()
    assert failure(bundle, f"sleep 600 & echo $! >{bundle}/child; wait", timeout=1) == "it ran past its timeout of 1 s"
    assert time.monotonic() - started < 300
    child = int((bundle / "child").read_text())
    wait_for(lambda: not is_alive(child), "the filter's child to be gone")


def test_a_daemon_left_behind_holds_nobody_up(bundle: Path) -> None:
    config = run(bundle, {}, f"sleep 600 & echo $! >{bundle}/child; cat", timeout=300)
    child = int((bundle / "child").read_text())
    os.kill(child, 9)
    assert config == {}


def test_no_descriptor_is_passed_on(bundle: Path) -> None:
    given = {number for number in map(int, os.listdir("/proc/self/fd")) if _is_inheritable(number)}
    config = run(bundle, {}, 'echo "{\\"fds\\": \\"$(echo /proc/self/fd/*)\\"}"')
    open_there = {int(name.rpartition("/")[2]) for name in config["fds"].split()}
    # One is the listing's own, from 10 on are the shell's.
    surplus = {number for number in open_there if 2 < number < 10} - given
    assert len(surplus) <= 1, surplus


def _is_inheritable(number: int) -> bool:
    """Whether whoever started the tests left this open for all that follow."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False
