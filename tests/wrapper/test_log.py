"""The log's lines are runc's, in all three forms; compared side by side where runc is installed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hookrun.runtime.errors import Failure
from hookrun.runtime.log import Log, opened
from hookrun.wrapper import entry, settings, snapshot

SOURCE = str(Path(entry.__file__).parents[2])
PROGRAM = "import sys; sys.path.append({source!r}); from hookrun.wrapper.entry import main; main({state!r})"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"

needs_runc = pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc as the oracle")


@pytest.fixture
def hookrun(tmp_path: Path) -> list[str]:
    content: snapshot.Content = {"settings": settings.completed({"record": {"enabled": False}}), "profiles": {}}
    (tmp_path / snapshot.NAME).write_bytes(snapshot.packed(content))
    (tmp_path / snapshot.NAME).chmod(0o644)
    python = os.path.realpath(sys.executable)
    return [python, "-ISXutf8", "-c", PROGRAM.format(source=SOURCE, state=str(tmp_path))]


def on_terminal(command: list[str], directory: Path, zone: str) -> bytes:
    """What a command prints when its stderr is a terminal."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "TZ": zone},
        )
        process.wait(timeout=60)
        seen = b""
        while select.select([master], [], [], 0)[0]:
            seen += os.read(master, 65536)
        return seen
    finally:
        os.close(master)
        os.close(slave)


@needs_runc
@pytest.mark.parametrize(
    "words", [["state", "nosuch"], ["nosuch"], ["kill", "a b\n\x01größe", "KILL"], ["start", "x" * 80]]
)
def test_coloured_lines_on_a_terminal(hookrun: list[str], words: list[str], tmp_path: Path) -> None:
    line = ["--root", str(tmp_path / "root"), *words]
    (tmp_path / "root").mkdir()
    ours = on_terminal([*hookrun, *line], tmp_path, "UTC")
    theirs = on_terminal(["runc", *line], tmp_path, "UTC")
    assert b"ERRO" in ours
    assert ours == theirs


@needs_runc
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_lines_in_a_file(hookrun: list[str], form: str, zone: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    lines = {}
    for name, program in (("runc", ["runc"]), ("hookrun", hookrun)):
        log = tmp_path / name
        options = ["--root", str(tmp_path / "root"), "--log", str(log), "--log-format", form]
        subprocess.run(
            [*program, *options, "events", "--interval", 'a"b', "x"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], "TZ": zone},
        )
        assert re.search(TIME, log.read_text())
        lines[name] = re.sub(TIME, lambda found: found[0][19:], log.read_text())
        assert log.stat().st_mode & 0o777 == 0o644 & ~_umask()
    assert lines["hookrun"] == lines["runc"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_levels(tmp_path: Path) -> None:
    for debugging in (False, True):
        path = tmp_path / str(debugging)
        log = opened(str(path), "json", debugging=debugging)
        log.debug("one")
        log.info("two")
        log.warning("three")
        log.error("four \udcff")
        found = [json.loads(line) for line in path.read_text().splitlines()]
        expected = [("debug", "one")] if debugging else []
        expected += [("info", "two"), ("warning", "three"), ("error", "four \ufffd")]
        assert [(line["level"], line["msg"]) for line in found] == expected


def test_a_full_log_is_told_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        Log(descriptor).error("lost")
    finally:
        os.close(descriptor)
    assert capfd.readouterr().err == "Failed to write to log, no space left on device\n"


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [("/nosuch/log", "", "open /nosuch/log: no such file or directory"), ("", "xml", "invalid log-format: xml")],
)
def test_logs_that_cannot_be(path: str, form: str, message: str) -> None:
    with pytest.raises(Failure) as caught:
        opened(path, form, debugging=False)
    assert caught.value.text == message
