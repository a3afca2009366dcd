"""hookrun killed at random moments: `delete --force` gets the host clean, whatever was half made."""

from __future__ import annotations

import contextlib
import errno
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from hookrun.runtime.cgroups.files import FileError
from hookrun.runtime.container import life
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id

SEED = 20261121
# Every round takes ten times as long in the emulated machine of tests/vm.
ROUNDS = 8 if Path("/suite/suite.sh").exists() else 25


def call_and_kill(runtime: Runtime, bundle: Bundle, seconds: float, *arguments: str) -> None:
    """Start a command and end it by SIGKILL after a while, if it has not ended by itself."""
    with (bundle.path / "output").open("ab") as output:
        process = subprocess.Popen(
            [runtime.program, *runtime.globals, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait(60)


def assert_nothing_is_left(runtime: Runtime, container_id: str, mounts: list[str]) -> None:
    assert not (runtime.root / container_id).exists()
    assert leaks.cgroups(container_id) == []
    assert leaks.processes(container_id) == []
    assert leaks.mounts() == mounts


def words(command: str, bundle: Bundle, container_id: str) -> list[str]:
    options = ["--bundle", str(bundle.path)] if command == "create" else []
    return [*command.split(), *options, container_id]


def make_ready(command: str, runtime: Runtime, bundle: Bundle, container_id: str) -> None:
    """Have the container in the state that the command is for."""
    if command == "create":
        return
    runtime.create(bundle.path, container_id=container_id)
    if command != "start":
        runtime.start(container_id)
    if command == "delete":
        assert runtime.call("kill", container_id, "KILL").status == 0
        runtime.wait_for_status(container_id, "stopped")


def seconds_undisturbed(command: str, runtime: Runtime, bundle: Bundle) -> float:
    """How long the command takes on this machine."""
    container_id = fresh_id("undisturbed")
    make_ready(command, runtime, bundle, container_id)
    begin = time.monotonic()
    done = runtime.call_leaving(*words(command, bundle, container_id), output=bundle.path / "output")
    assert done.status == 0, done.out
    taken = time.monotonic() - begin
    runtime.call("delete", "--force", container_id)
    return taken


@pytest.mark.parametrize("command", ["create", "start", "delete", "delete --force"])
def test_kill_at_random_moments(bundle: Bundle, hookrun: Runtime, command: str) -> None:
    chance = random.Random(f"{SEED} {command}")
    mounts = leaks.mounts()
    word = fresh_id("killed")
    bundle.command("sh", "-c", f": {word}; sleep 1000")
    most = seconds_undisturbed(command, hookrun, bundle)
    for number in range(ROUNDS):
        container_id = f"{word}-{number}"
        make_ready(command, hookrun, bundle, container_id)
        call_and_kill(hookrun, bundle, chance.uniform(0.0, most), *words(command, bundle, container_id))
        result = hookrun.call("delete", "--force", container_id)
        assert result.status == 0, result.err
        assert_nothing_is_left(hookrun, container_id, mounts)
    assert leaks.processes(word) == []
    assert not hookrun.root.exists() or list(hookrun.root.iterdir()) == []


@pytest.mark.parametrize("has_mount_namespace", [True, False])
def test_kill_while_hooks_run(bundle: Bundle, hookrun: Runtime, has_mount_namespace: bool) -> None:
    """A hook that hangs outlives the hookrun that was killed; the container does not, nor do mounts on the host."""
    if not has_mount_namespace:
        bundle.without_namespace("mount").linux.update(maskedPaths=[], readonlyPaths=[])
    container_id = fresh_id("hanging")
    mark = bundle.path / "hook-started"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {mark}; exec sleep 3"]}]
    }
    bundle.command("sleep", "1000")
    mounts = leaks.mounts()
    with (bundle.path / "output").open("wb") as output:
        process = subprocess.Popen(
            [hookrun.program, *hookrun.globals, "create", "--bundle", str(bundle.path), container_id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        deadline = time.monotonic() + 60
        while not mark.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait(60)
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert_nothing_is_left(hookrun, container_id, mounts)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_scope_that_systemd_removes_while_it_is_emptied(is_there: bool, mocker: MockerFixture) -> None:
    gone = FileError("openat2 cgroup.procs: no such file or directory", errno.ENOENT)
    manager = mocker.Mock(**{"signal_all.side_effect": gone, "exists.return_value": is_there})
    with pytest.raises(FileError) if is_there else contextlib.nullcontext():
        life.kill_all(manager, mocker.Mock())
