"""A normal day of dockerd under strace: the record has the command lines that execve saw, to the byte."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import IMAGE
from tests.support import docker as dockers
from tests.support import leaks
from tests.support.docker import Docker
from tests.support.generations import Machine
from tests.support.runtimes import HOOKCTL, wait_for

STRACE = """#!/bin/sh
exec strace -D -f --seccomp-bpf -e trace=execve -e signal=none -xx -s 1000000 -o {log} /usr/sbin/dockerd "$@"
"""

POLICIES = """apiVersion: hookrun/v1
kind: Policy
metadata: {{name: nobody-is-called-denied}}
spec:
  deny:
    - when: {{all: [{{field: /hostname, matches: '^denied$'}}]}}
      message: no container may be called denied
---
apiVersion: hookrun/v1
kind: Policy
metadata: {{name: a-hook-that-fails}}
spec:
  match: {{all: [{{field: /hostname, matches: '^failing$'}}]}}
  hooks:
    createRuntime:
      - {{path: {hook}, args: [hook], timeout: 20}}
"""


class Day:
    """hookrun registered with a traced dockerd, in directories of the test's own."""

    def __init__(self, place: Path, machine: Machine) -> None:
        self.place = place
        self._machine = machine
        self.state = place / "state"
        self.trace = place / "strace.log"
        config = place / "etc"
        (config / "policies.d").mkdir(parents=True)
        hook = place / "hook"
        hook.write_text("#!/bin/sh\necho the hook has had enough >&2\nexit 3\n")
        for path in (place, config, config / "policies.d"):
            path.chmod(0o755)
        hook.chmod(0o755)
        (config / "policies.d/day.yaml").write_text(POLICIES.format(hook=hook))
        (config / "config.yaml").write_text(f"record: {{directory: {place}/record}}\n")
        self.ctl("apply", "--yes")
        self.ctl("engine", "register", "docker", "--daemon-json", f"{place}/daemon.json")
        wrapper = place / "dockerd"
        wrapper.write_text(STRACE.format(log=self.trace))
        wrapper.chmod(0o755)
        self.docker = Docker(place, place / "daemon.json", machine=machine)

    def ctl(self, *words: str) -> str:
        done = subprocess.run(
            self._machine.command(HOOKCTL, "--config", self.place / "etc", "--state", self.state, *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.ctl("trace", "list", "--last", "0", "--json"))
        return found

    def traced(self) -> dict[int, list[bytes]]:
        """The command lines of the launcher that execve(2) saw, by pid."""
        launcher = str(self.state / "launchers/hookrun").encode()
        found = {}
        for line in self.trace.read_text().splitlines():
            match = re.match(r'(\d+) +execve\("([^"]*)", \[(.*?)\]', line)
            if match and unescaped(match[2]) == launcher:
                found[int(match[1])] = [unescaped(word) for word in re.findall(r'"([^"]*)"', match[3])]
        return found


def unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@pytest.fixture(scope="module")
def day(image_rootfs: Path, machine: Machine) -> Iterator[Day]:
    """The day, over: what was asked of dockerd, recorded and traced."""
    place = Path(tempfile.mkdtemp(prefix="hrs-", dir="/var/tmp"))
    day = Day(place, machine)
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(dockers, "DOCKERD", str(place / "dockerd"))
        day.docker.start()
        day.docker.import_image(image_rootfs, IMAGE)
        live(day.docker)
        yield day
    finally:
        patch.undo()
        day.docker.stop()
        assert [
            mount for mount in leaks.mounts() if mount.startswith(f"{place}/")
        ] == []  # the seal's went with dockerd's
        shutil.rmtree(place, ignore_errors=True)


def live(docker: Docker) -> None:
    """Run, exec, restart, run out of memory, fail in a hook, be denied, and be removed while running."""
    run = ("run", "--runtime", "hookrun")
    assert docker.check(*run, "--rm", "--env", "WORDS=ä 'b' \"c\"", IMAGE, "/bin/echo", "hello").strip() == "hello"
    docker.check(*run, "-d", "--name", "stays", IMAGE, "/bin/sleep", "1000")
    assert docker.check("exec", "stays", "/bin/echo", "inside") == "inside"
    assert docker("exec", "stays", "/bin/nosuch").status in (126, 127)
    docker.check("restart", "-t", "0", "stays")
    docker.check("rm", "-f", "stays")
    docker(
        *run,
        "--name",
        "greedy",
        "--memory",
        "6m",
        IMAGE,
        "/bin/sh",
        "-c",
        "x=$(tail -c 50000000 /dev/zero | tr '\\0' x)",
    )
    docker.check("rm", "-f", "greedy")
    for name, words in (("failing", "the hook has had enough"), ("denied", "no container may be called denied")):
        result = docker(*run, "--name", name, "--hostname", name, IMAGE, "/bin/true")
        assert result.status in {125, 127}, result
        assert words in result.err
        assert re.search(r"\(hookctl trace show [0-9a-f]{12}\)", result.err), result.err
        docker.check("rm", "-f", name)


def test_command_lines_are_the_same_to_the_byte(day: Day) -> None:
    wait_for(lambda: {"create", "start", "delete"} <= {call["command"] for call in day.calls()}, "the record")
    traced = day.traced()
    compared: dict[str, int] = {}
    for call in day.calls():
        words = [os.fsencode(word) for word in call["argv"]]
        assert traced[call["pid"]] == words
        kind = "delete --force" if b"--force" in words else call["command"]
        compared[kind] = compared.get(kind, 0) + 1
    assert compared["create"] >= 5
    assert compared["start"] >= 3
    assert compared["delete"] >= 1
    assert compared["exec"] >= 2
    assert compared["delete --force"] >= 1
    recorded = {call["pid"] for call in day.calls()}
    for pid, words in traced.items():
        assert pid in recorded or not {b"create", b"start", b"delete"} & set(words), words


def test_who_called(day: Day) -> None:
    for call in day.calls():
        assert call["engine"] == "docker"
        # Since Docker 25 the daemon itself asks what a runtime knows.
        asks = "dockerd" if call["command"] == "features" else "containerd-shim-runc-v2"
        assert os.path.basename(call["caller"]["exe"]) == asks
    for call in day.calls():
        if call["command"] == "create":
            assert os.path.basename(call["caller"]["above"]["exe"]) == "dockerd"


def test_what_failed_is_explained(day: Day) -> None:
    (denied,) = json.loads(day.ctl("trace", "list", "--denied", "--json"))
    assert "no container may be called denied" in denied["error"]
    assert "nobody-is-called-denied (enforce) denied" in day.ctl("trace", "show", denied["id"])
    failed = json.loads(day.ctl("trace", "list", "--failed", "--json"))
    failing = [call for call in failed if any(hook["status"] for hook in call["hook_results"])]
    text = day.ctl("trace", "show", failing[0]["id"])
    assert "the hook has had enough" in text
    assert "exit status 3" in text
    assert "from policy a-hook-that-fails" in text
    assert "+ /hooks" in day.ctl("trace", "diff", failing[0]["id"])
