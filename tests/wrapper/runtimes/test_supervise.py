"""`record: supervise`: another runtime as a child, which nobody who calls hookrun can tell from becoming it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.runtimes import wait_for
from tests.wrapper.test_shim import Host

# Its signals are read by the shell itself: dash blocks all of its own while it starts a program.
RUNTIME = """#!/bin/sh
trap 'echo term >>{log}; exit 7' TERM
trap 'echo usr1 >>{log}' USR1
echo "pid $$" >>{log}
printf '%s\\n' "$@" >{log}.words
while read -r name value; do case $name in SigBlk:|SigIgn:) echo "$name $value";; esac; done </proc/$$/status >{log}.signals
cat
echo to-stderr >&2
eval "$SCRIPT"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    runtime = tmp_path / "other"
    runtime.write_text(RUNTIME.format(log=tmp_path / "log"))
    runtime.chmod(0o755)
    yield tmp_path


def host(place: Path, runtime: str = "") -> Host:
    made = Host(place)
    made.apply(
        {"record": {"directory": str(made.record), "supervise": True}, "runtime": runtime or str(place / "other")}
    )
    return made


def line(of: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((of.record / "record.jsonl").read_text().splitlines()[-1])
    return found


def call(of: Host, script: str, **options: Any) -> subprocess.Popen[bytes]:
    words = [str(of.launcher), "--root", f"{of.directory}/root", "state", "box"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env={"PATH": os.environ["PATH"], "SCRIPT": script}, **{**streams, **options})


def test_streams_words_and_exit_status(place: Path) -> None:
    of = host(place)
    process = call(of, "exit 42")
    out, err = process.communicate(b"from stdin\n", timeout=60)
    assert (process.returncode, out, err) == (42, b"from stdin\n", b"to-stderr\n")
    assert (place / "log.words").read_text().split() == ["--root", f"{place}/root", "state", "box"]
    assert (line(of)["status"], line(of)["delegate"]) == (42, str(place / "other"))
    signals = dict(entry.split() for entry in (place / "log.signals").read_text().splitlines())
    assert int(signals["SigBlk:"], 16) == 0
    # Python ignores these two, which the runtime must not see.
    assert not int(signals["SigIgn:"], 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_descriptors_are_passed(place: Path) -> None:
    of = host(place)
    reader, writer = os.pipe()
    process = call(of, f"echo through >/proc/self/fd/{writer}", stdin=subprocess.DEVNULL, pass_fds=(writer,))
    os.close(writer)
    process.communicate(timeout=60)
    assert process.returncode == 0
    with open(reader, "rb") as file:
        assert file.read() == b"through\n"


def test_signals_reach_the_runtime(place: Path) -> None:
    of = host(place)
    process = call(
        of,
        "echo ready >>$LOG; while :; do sleep 0.05; done".replace("$LOG", str(place / "log")),
        stdin=subprocess.DEVNULL,
    )
    wait_for(lambda: (place / "log").exists() and "ready" in (place / "log").read_text(), "the runtime")
    process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "usr1" in (place / "log").read_text(), "the first signal")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert line(of)["status"] == 7


def test_a_signal_that_ends_the_runtime(place: Path) -> None:
    of = host(place)
    process = call(of, "kill -KILL $$", stdin=subprocess.DEVNULL)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert line(of)["status"] == 128 + signal.SIGKILL


def test_the_runtime_ends_with_hookrun(place: Path) -> None:
    of = host(place)
    process = call(
        of, "exec sleep 1000", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for((place / "log.signals").exists, "the runtime")
    pid = int((place / "log").read_text().split()[1])
    process.kill()
    process.wait(60)
    wait_for(lambda: not is_running(pid), "the runtime's end")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_runtime_that_is_not_there(place: Path) -> None:
    of = host(place, "/nonexistent/runtime")
    process = call(of, "", stdin=subprocess.DEVNULL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"runtime /nonexistent/runtime: no such file or directory" in err
    assert line(of)["error"].startswith("runtime /nonexistent/runtime: ")


def test_children_that_the_caller_ignores(place: Path) -> None:
    """SIGCHLD ignored by the caller stays so for the runtime, and its exit status is still known."""
    of = host(place)
    process = call(
        of, "exit 5", stdin=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    )
    process.communicate(timeout=60)
    assert process.returncode == 5
