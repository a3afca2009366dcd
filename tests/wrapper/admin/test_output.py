"""What hookctl prints under other locales, on narrow terminals, into closed pipes, and to others than root."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hookrun.wrapper.admin import output
from tests.support.places import short_place
from tests.support.runtimes import HOOKCTL, Result
from tests.wrapper.admin.support import Desk


def said(desk: Desk, *words: str | Path, environment: Mapping[str, str] = {}, user: int | None = None) -> Result:
    done = subprocess.run(
        [HOOKCTL, "--config", desk.config, "--state", desk.state, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
        user=user,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return Result(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1"))


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_letters_that_a_locale_does_not_have(tmp_path: Path, environment: dict[str, str]) -> None:
    desk = Desk(tmp_path)
    desk.policy("one", {"match": {"engine": "podman"}}, metadata={"name": "one", "description": "日本語 ü"})
    (tmp_path / "config.json").write_text(json.dumps({"process": {}}))
    for words in (("policy", "explain", tmp_path), ("policy", "list")):
        result = said(desk, *words, environment=environment)
        assert (result.status, result.err) == (0, "")
        assert "one" in result.out


def test_a_closed_pipe_is_no_fault(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [HOOKCTL, "--state", desk.state, "policy", "new", "--list"],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert done.stderr == b""


def test_a_users_own_record_is_told_from_the_hosts() -> None:
    with short_place() as place:
        desk = Desk(place)
        environment = {"HOME": str(place), "XDG_STATE_HOME": str(place / "own")}
        result = said(desk, "trace", "list", user=1234, environment=environment)
        assert "this is your own record" in result.err and "only root can read the host's" in result.err
        assert "Traceback" not in result.err
        assert "your own record" not in said(desk, "trace", "list").err


def test_progress_is_shown_of_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def start(bar: object) -> None:
        started.append(bar)

    monkeypatch.setattr("rich.progress.Progress.start", start)
    with output.progress("work", 2) as advance:
        advance(1)
        assert started == []
        monkeypatch.setattr(output, "_SHORT", -1)
        advance(1)
        assert len(started) == 1
