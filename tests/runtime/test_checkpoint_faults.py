"""Checkpoints and restores that fail: one clear line, the container as it was, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import (
    Saved,
    checkpoint,
    count,
    restore,
    rich,
    start,
    try_restore,
    wait_for_more,
)
from tests.runtime.parity import told
from tests.support import later, leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id, wait_for

pytestmark = pytest.mark.usefixtures("working_criu")


def test_states_that_cannot_be_saved(bundle: Bundle, hookrun: Runtime, runc: Runtime, saved: Saved) -> None:
    bundle.command("sleep", "1000")
    seen = []
    for runtime in (hookrun, runc):
        created = runtime.create(bundle.path)
        said = told(checkpoint(runtime, created, saved))
        runtime.call("kill", created, "KILL")
        runtime.wait_for_status(created, "stopped")
        seen.append([*said, *told(checkpoint(runtime, created, saved)), *told(checkpoint(runtime, "none", saved))])
    assert seen[0] == seen[1]
    assert "Container cannot be checkpointed in created state" in seen[0][1]


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--page-server", "nowhere"], "--page-server ADDRESS:PORT"),
        (["--page-server", "here:x"], "Invalid port number"),
        (["--parent-path", "/absolute"], "--parent-path must be relative"),
        (["--manage-cgroups-mode", "some"], "manage"),
        (["--empty-ns", "pid"], "is not supported"),
        (["--lazy-pages", "--status-fd", "77"], "invalid --status-fd argument 77"),
    ],
)
def test_flags_that_make_no_sense(bundle: Bundle, either: Runtime, saved: Saved, flags: list[str], wanted: str) -> None:
    container_id = start(either, bundle.command("sleep", "1000"))
    result = checkpoint(either, container_id, saved, *flags)
    assert result.status == 1
    assert wanted.lower() in result.err.lower()
    assert either.state(container_id)["status"] == "running"


# What a CRIU 2.12 answers to the first request of its RPC.
OLD_CRIU = """#!{python}
import socket
from hookrun.runtime.criu.messages import rpc
line = socket.socket(fileno=3)
line.recv(4096)
answer = rpc.criu_resp(type=rpc.VERSION, success=True)
answer.version.major_number, answer.version.minor_number = 2, 12
line.send(answer.SerializeToString())
line.recv(4096)
"""


def test_no_criu_and_an_old_one(
    bundle: Bundle, hookrun: Runtime, saved: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    container_id = start(hookrun, bundle.command("sleep", "1000"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install criu" in checkpoint(hookrun, container_id, saved).err
    # A CRIU that ends in the very moment in which the cgroup is frozen.
    paths = json.loads((hookrun.root / container_id / "state.json").read_text())["cgroup_paths"]
    frozen = f"FROZEN > {paths['freezer']}/freezer.state" if "freezer" in paths else f"1 > {paths['']}/cgroup.freeze"
    (tmp_path / "criu").write_text(f"#!/bin/sh\necho {frozen}\nexit 7\n")
    (tmp_path / "criu").chmod(0o755)
    assert "criu failed: exit status 7" in checkpoint(hookrun, container_id, saved).err
    assert hookrun.state(container_id)["status"] == "running"
    (tmp_path / "criu").write_text(OLD_CRIU.format(python=sys.executable))
    assert "CRIU version 21200 must be 30000 or higher" in checkpoint(hookrun, container_id, saved).err
    hookrun.globals += ["--criu", "/no/such/criu"]
    assert "/no/such/criu" in checkpoint(hookrun, container_id, saved).err
    assert hookrun.state(container_id)["status"] == "running"


def test_what_is_not_utf8(bundle: Bundle, hookrun: Runtime, saved: Saved) -> None:
    container_id = start(hookrun, bundle.command("sleep", "1000"))
    result = checkpoint(hookrun, container_id, saved, "--page-server", b"\xff:1".decode("utf-8", "surrogateescape"))
    assert (result.status, "is not UTF-8" in result.err) == (1, True), result.err
    assert hookrun.state(container_id)["status"] == "running"


def test_dirty_memory_is_tracked_or_said_not_to_be(bundle: Bundle, either: Runtime, saved: Saved) -> None:
    """A pre-dump and the dump that builds on it, where the kernel can."""
    can = (
        subprocess.run(["criu", "check", "--feature", "mem_dirty_track"], capture_output=True, timeout=60).returncode
        == 0
    )
    container_id = start(either, rich(bundle))
    wait_for_more(bundle, 3)
    parent = Saved(bundle.path / "parent", bundle.path / "parent-work")
    first = checkpoint(either, container_id, parent, "--pre-dump")
    assert either.state(container_id)["status"] == "running"
    if not can:
        assert first.status == 1
        assert "criu is missing features" in first.err.lower()
        return
    assert first.status == 0, first.err
    assert checkpoint(either, container_id, saved, "--parent-path", "../parent").status == 0
    assert (saved.images / "parent").is_symlink()
    reached = count(bundle)
    restore(either, bundle, saved)
    wait_for_more(bundle, reached)


def full(place: Path) -> list[str]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], check=True, timeout=60)
    return ["full"]


def read_only(place: Path) -> list[str]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], check=True, timeout=60)
    return ["read-only file system"]


@pytest.mark.parametrize("prepare", [full, read_only])
def test_images_that_cannot_be_written(bundle: Bundle, hookrun: Runtime, saved: Saved, prepare: object) -> None:
    container_id = start(hookrun, rich(bundle))
    wait_for_more(bundle, 3)
    saved.images.mkdir()
    (full if prepare is full else read_only)(saved.images)
    try:
        result = checkpoint(hookrun, container_id, saved)
    finally:
        subprocess.run(["umount", str(saved.images)], check=True, timeout=60)
    assert result.status == 1
    assert len(result.err.splitlines()) == 1
    assert hookrun.state(container_id)["status"] == "running"
    wait_for_more(bundle, count(bundle))
    assert checkpoint(hookrun, container_id, Saved(bundle.path / "others", saved.work)).status == 0


def test_restores_that_fail_leave_nothing(bundle: Bundle, hookrun: Runtime, saved: Saved) -> None:
    container_id = start(hookrun, rich(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(hookrun, container_id, saved, "--leave-running").status == 0
    used = try_restore(hookrun, bundle, saved, container_id=container_id)
    assert (used.status, "container with given ID already exists" in used.err) == (1, True)
    assert hookrun.state(container_id)["status"] == "running"
    other = fresh_id("ckx")
    nowhere = try_restore(hookrun, bundle, Saved(bundle.path / "nowhere", saved.work), container_id=other)
    assert (nowhere.status, "nowhere" in nowhere.err) == (1, True)
    assert not (bundle.path / "nowhere").exists()
    bundle.config["hooks"]["createRuntime"] = [{"path": "/bin/sh", "args": ["sh", "-c", "echo no way >&2; exit 4"]}]
    bundle.write()
    hooked = try_restore(hookrun, bundle, saved, container_id=other)
    assert (hooked.status, "no way" in hooked.err, "restore.log" in hooked.err) == (1, True, False), hooked.err
    del bundle.config["hooks"]
    bundle.write()
    (saved.images / "core-1.img").write_bytes(b"damaged")
    damaged = try_restore(hookrun, bundle, saved, container_id=other)
    assert damaged.status == 1
    assert "restore.log" in damaged.err
    (saved.images / "descriptors.json").write_text("{}")
    assert "descriptors.json" in try_restore(hookrun, bundle, saved, container_id=other).err
    assert not (hookrun.root / other).exists()
    assert leaks.cgroups(other) == []
    assert [mount for mount in leaks.mounts() if str(bundle.path) in mount or other in mount] == []
    assert leaks.processes(other) == []


class Killer(threading.Thread):
    """Kills the CRIU of a hookrun as soon as CRIU's log tells of a notification."""

    def __init__(self, hookrun: subprocess.Popen[bytes], log: Path, notification: str) -> None:
        super().__init__()
        self._hookrun = hookrun
        self._log = log
        self._line = f"Running {notification} scripts"

    def run(self) -> None:
        while self._hookrun.poll() is None:
            if self._log.exists() and self._line in self._log.read_text(errors="replace"):
                children = Path(f"/proc/{self._hookrun.pid}/task/{self._hookrun.pid}/children").read_text().split()
                for child in children:
                    with contextlib.suppress(OSError):  # it has ended by itself
                        if os.readlink(f"/proc/{child}/exe").startswith(str(later.CACHE)):
                            os.kill(int(child), signal.SIGKILL)
                return
            time.sleep(0.0005)


def killed(runtime: Runtime, log: Path, notification: str, *words: str) -> tuple[int, str]:
    """A command's status and errors, its CRIU having been killed at a notification."""
    log.unlink(missing_ok=True)
    null = subprocess.DEVNULL
    said = runtime.root.with_suffix(".killed")
    said.unlink(missing_ok=True)
    line = [runtime.program, *runtime.globals, "--log", str(said), *words]
    with subprocess.Popen(line, stdin=null, stdout=null, stderr=null) as called:
        killer = Killer(called, log, notification)
        killer.start()
        status = called.wait(60)
        killer.join()
    return status, said.read_text() if said.exists() else ""


def killed_in_time(
    runtime: Runtime, undo: Callable[[], object], log: Path, notification: str, *words: str
) -> tuple[int, str]:
    """The same; a command that was faster than the killer, on a busy machine, is undone and called again."""
    for _ in range(20):
        status, said = killed(runtime, log, notification, *words)
        if status:
            return status, said
        undo()
    raise AssertionError(f"CRIU was never killed at {notification}")


def test_criu_killed_at_each_notification(bundle: Bundle, hookrun: Runtime, saved: Saved) -> None:
    container_id = start(hookrun, rich(bundle))
    wait_for_more(bundle, 3)
    dump = ["checkpoint", *saved.flags(), "--leave-running", container_id]
    for notification in ("pre-dump", "network-lock", "post-dump", "network-unlock"):
        status, said = killed_in_time(hookrun, lambda: None, saved.work / "dump.log", notification, *dump)
        assert (status, "criu failed: signal: killed" in said) == (1, True), (notification, status, said)
        assert hookrun.state(container_id)["status"] == "running", notification
        wait_for_more(bundle, count(bundle))
    assert hookrun.call("delete", "--force", container_id).status == 0
    container_id = start(hookrun, bundle)
    wait_for_more(bundle, 3)
    assert checkpoint(hookrun, container_id, saved).status == 0
    back = ["restore", "--detach", "--bundle", str(bundle.path), *saved.flags(), container_id]

    def end() -> None:
        assert hookrun.call("delete", "--force", container_id).status == 0

    for notification in (
        "pre-restore",
        "setup-namespaces",
        "post-setup-namespaces",
        "post-restore",
        "network-unlock",
        "pre-resume",
        "post-resume",
    ):
        status, said = killed_in_time(hookrun, end, saved.work / "restore.log", notification, *back)
        assert (status, "criu failed: signal: killed" in said) == (1, True), (notification, status, said)
        assert not (hookrun.root / container_id).exists(), notification
        assert leaks.cgroups(container_id) == [], notification
        mounts = set(re.findall(r"/tmp/\.criu\.mntns\.\w{6}", (saved.work / "restore.log").read_text(errors="replace")))
        assert [directory for directory in mounts if os.path.exists(directory)] == [], notification
    assert [mount for mount in leaks.mounts() if str(bundle.path) in mount or container_id in mount] == []
    restore(hookrun, bundle, saved, container_id=container_id)


def test_a_killed_restore_is_cleaned_up(bundle: Bundle, hookrun: Runtime, saved: Saved) -> None:
    """runc leaves the rootfs mounted in its state directory then, and its `delete --force` empties the rootfs."""
    container_id = start(hookrun, rich(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(hookrun, container_id, saved).status == 0
    log = saved.work / "restore.log"
    words = [hookrun.program, *hookrun.globals, "restore", "--detach", "--bundle", str(bundle.path), *saved.flags()]
    null = subprocess.DEVNULL
    with subprocess.Popen([*words, container_id], stdin=null, stdout=null, stderr=null) as restoring:
        wait_for(lambda: log.exists() and "Running setup-namespaces scripts" in log.read_text(), "the restore to begin")
        restoring.kill()
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert not (hookrun.root / container_id).exists()
    wait_for(lambda: leaks.cgroups(container_id) == [], "the cgroups to be gone")
    assert [mount for mount in leaks.mounts() if str(bundle.path) in mount or container_id in mount] == []
    assert (bundle.rootfs / "bin/busybox").exists()
    reached = count(bundle)
    restore(hookrun, bundle, saved, container_id=container_id)
    wait_for_more(bundle, reached)
