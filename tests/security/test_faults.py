"""A faulty host: every step of create, start, exec and delete may fail, and nothing is lost or left behind.

System calls are made to fail by `strace --inject`, in the runtime and in the container's first process alike.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Result, Runtime, fresh_id, wait_for

# What create needs, each failing the first few times it is called.
INJECTED = [
    ("mkdir", "ENOSPC", 4),
    ("mkdirat", "ENOSPC", 3),
    ("rename", "EIO", 4),
    ("write", "ENOSPC", 6),
    ("write", "EIO", 6),
    ("openat", "EMFILE", 12),
    ("openat2", "EMFILE", 6),
    ("clone3", "EAGAIN", 1),
    ("fsopen", "ENOMEM", 4),
    ("fsmount", "ENOMEM", 4),
    ("move_mount", "ENOMEM", 5),
    ("open_tree", "ENOSPC", 3),
    ("mount_setattr", "EPERM", 2),
    ("mknodat", "ENOSPC", 3),
    ("symlinkat", "ENOSPC", 2),
    ("pivot_root", "EBUSY", 1),
    ("umount2", "EBUSY", 1),
    ("sethostname", "EPERM", 1),
    ("prctl", "EINVAL", 5),
    ("capset", "EPERM", 1),
    ("setresuid", "EAGAIN", 1),
    ("setgroups", "EPERM", 1),
    ("execve", "ENOMEM", 1),
    ("pipe2", "EMFILE", 2),
    ("chdir", "EIO", 2),
    ("close_range", "EINVAL", 1),
]


def injected(runtime: Runtime, call: str, error: str, when: int, *arguments: str, output: Path) -> Result:
    """Run a command in which one system call fails; strace goes on beside it until the container has ended too."""
    words = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error={error}:when={when}",
    ]
    with output.open("wb") as file:
        done = subprocess.run(
            [*words, runtime.program, *runtime.globals, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=60,
            check=False,
        )
    return Result(done.returncode, output.read_text(errors="replace"), "")


def assert_clean(runtime: Runtime, container_id: str, mounts: list[str]) -> None:
    assert not (runtime.root / container_id).exists()
    assert leaks.cgroups(container_id) == []
    wait_for(lambda: leaks.processes(container_id) == [], "the end of every process, strace included")
    assert leaks.mounts() == mounts


@pytest.mark.parametrize(("call", "error", "times"), INJECTED)
def test_create_with_a_failing_system_call(
    bundle: Bundle, sealed_hookrun: Runtime, call: str, error: str, times: int
) -> None:
    sealed_hookrun.run(bundle.path)
    mounts = leaks.mounts()
    for when in range(1, times + 1):
        container_id = fresh_id("fault")
        bundle.command("sh", "-c", f": {container_id}; sleep 1000")
        output = bundle.path / f"output-{when}"
        result = injected(
            sealed_hookrun, call, error, when, "create", "--bundle", str(bundle.path), container_id, output=output
        )
        if result.status:
            # An interpreter that can't even start says so in its own way.
            assert "Traceback" not in result.out or "Fatal Python error" in result.out, result.out
            if call != "write":  # the message itself may have been the write that failed
                assert result.out.strip(), f"{call} {when}: no word of what went wrong"
        else:
            assert sealed_hookrun.state(container_id)["status"] == "created"
        assert sealed_hookrun.call("delete", "--force", container_id).status == 0
        assert_clean(sealed_hookrun, container_id, mounts)


@pytest.mark.parametrize(
    ("command", "call", "error"),
    [
        ("start", "write", "EIO"),
        ("start", "unlink", "EIO"),
        ("start", "openat", "EMFILE"),
        ("delete", "unlink", "EIO"),
        ("delete", "rmdir", "EBUSY"),
        ("delete", "openat", "EMFILE"),
        ("exec", "clone3", "EAGAIN"),
        ("exec", "setns", "EPERM"),
        ("exec", "write", "EIO"),
        ("exec", "setresuid", "EAGAIN"),
        ("exec", "pidfd_open", "EMFILE"),
    ],
)
def test_other_commands_with_a_failing_system_call(
    bundle: Bundle, sealed_hookrun: Runtime, command: str, call: str, error: str
) -> None:
    mounts = None
    for when in range(1, 4):
        container_id = fresh_id("fault")
        bundle.command("sh", "-c", f": {container_id}; sleep 1000")
        sealed_hookrun.create(bundle.path, container_id=container_id)
        mounts = mounts or leaks.mounts()
        if command != "start":
            sealed_hookrun.start(container_id)
        if command == "delete":
            assert sealed_hookrun.call("kill", container_id, "KILL").status == 0
            sealed_hookrun.wait_for_status(container_id, "stopped")
        words = [command, container_id, *(["true"] if command == "exec" else [])]
        result = injected(sealed_hookrun, call, error, when, *words, output=bundle.path / f"output-{when}")
        assert "Traceback" not in result.out
        assert sealed_hookrun.call("delete", "--force", container_id).status == 0
        assert_clean(sealed_hookrun, container_id, mounts)


@pytest.fixture
def small_root(bundle: Bundle) -> Iterator[Path]:
    """A tmpfs of 64 KiB for the state."""
    place = bundle.path / "run"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], stdin=subprocess.DEVNULL, check=True)
    yield place
    subprocess.run(["umount", "-l", place], stdin=subprocess.DEVNULL, check=True)


def test_a_full_run_directory(bundle: Bundle, hookrun: Runtime, small_root: Path) -> None:
    runtime = Runtime(hookrun.program, small_root)
    container_id = fresh_id("full")
    bundle.command("sleep", "1000")
    (small_root / "filler").write_bytes(bytes(60 * 1024))
    mounts = leaks.mounts()
    result = runtime.call_leaving("create", "--bundle", str(bundle.path), container_id, output=bundle.path / "output")
    assert result.status == 1
    assert "no space left on device" in result.out
    assert str(small_root) in result.out
    assert_clean(runtime, container_id, mounts)


def test_a_run_directory_that_fills_up_loses_no_container(bundle: Bundle, hookrun: Runtime, small_root: Path) -> None:
    runtime = Runtime(hookrun.program, small_root)
    container_id = runtime.run_detached(bundle.command("sleep", "1000").path)
    before = runtime.state(container_id)
    filler = os.open(small_root / "filler", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(filler, bytes(4096))
    os.close(filler)
    runtime.call("update", "--pids-limit", "50", container_id)
    assert runtime.state(container_id) == before
    assert runtime.exec(container_id, "true").status == 0
    assert runtime.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []


def test_a_read_only_run_directory(bundle: Bundle, hookrun: Runtime, small_root: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_root], stdin=subprocess.DEVNULL, check=True)
    runtime = Runtime(hookrun.program, small_root)
    container_id = fresh_id("ro")
    result = runtime.call_leaving("create", "--bundle", str(bundle.path), container_id, output=bundle.path / "output")
    assert result.status == 1
    assert "read-only file system" in result.out
    assert leaks.cgroups(container_id) == []


@pytest.mark.parametrize("limit", [8, 12, 16, 20, 24, 32])
def test_too_few_descriptors(bundle: Bundle, hookrun: Runtime, limit: int) -> None:
    container_id = fresh_id("nofile")
    bundle.command("sh", "-c", f": {container_id}; sleep 1000")
    mounts = leaks.mounts()
    result = _limited(hookrun, bundle, resource.RLIMIT_NOFILE, limit, container_id)
    if result.status:
        assert result.out.strip()
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert_clean(hookrun, container_id, mounts)


@pytest.mark.parametrize("megabytes", [12, 20, 30, 40, 60])
def test_too_little_memory(bundle: Bundle, hookrun: Runtime, megabytes: int) -> None:
    container_id = fresh_id("memory")
    bundle.command("sh", "-c", f": {container_id}; sleep 1000")
    mounts = leaks.mounts()
    result = _limited(hookrun, bundle, resource.RLIMIT_AS, megabytes << 20, container_id)
    if result.status:
        assert result.out.strip()
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert_clean(hookrun, container_id, mounts)


def _limited(runtime: Runtime, bundle: Bundle, kind: int, limit: int, container_id: str) -> Result:
    output = bundle.path / "output"
    option = {resource.RLIMIT_NOFILE: "--nofile", resource.RLIMIT_AS: "--as"}[kind]
    with output.open("wb") as file:
        done = subprocess.run(
            [
                "prlimit",
                f"{option}={limit}",
                runtime.program,
                *runtime.globals,
                "create",
                "--bundle",
                str(bundle.path),
                container_id,
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=60,
            check=False,
        )
    return Result(done.returncode, output.read_text(errors="replace"), "")


def test_a_bundle_that_vanishes(bundle: Bundle, hookrun: Runtime) -> None:
    copy = bundle.path / "copy"
    copy.mkdir()
    config = bundle.command("sleep", "1000").config
    config["root"]["path"] = str(bundle.rootfs)
    (copy / "config.json").write_text(json.dumps(config))
    container_id = hookrun.create(copy)
    output = copy / f"{container_id}.output"
    assert output.exists()
    shutil.rmtree(copy)
    hookrun.start(container_id)
    assert hookrun.state(container_id)["status"] == "running"
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []


def test_an_init_that_nobody_reaps(bundle: Bundle, hookrun: Runtime) -> None:
    """Its parent, this test, lets it be a zombie: the container is stopped all the same, and can be deleted."""
    container_id = fresh_id("zombie")
    bundle.command("true")
    with (bundle.path / "output").open("wb") as file:
        # `--no-subreaper` and a parent that is a subreaper: the container's process becomes this process's child.
        script = (
            "import ctypes, subprocess, sys, time\n"
            "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
            "subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, check=True)\n"
            "print('ready', flush=True)\n"
            "time.sleep(100)\n"
        )
        parent = subprocess.Popen(
            [
                "/usr/bin/python3",
                "-c",
                script,
                hookrun.program,
                *hookrun.globals,
                "run",
                "--detach",
                "--no-subreaper",
                "--bundle",
                str(bundle.path),
                container_id,
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        wait_for(lambda: "ready" in (bundle.path / "output").read_text(), "the container")
        hookrun.wait_for_status(container_id, "stopped")
        pid = json.loads((hookrun.root / container_id / "state.json").read_text())["init_process_pid"]
        assert Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
        assert hookrun.call("delete", container_id).status == 0
        assert leaks.cgroups(container_id) == []
    finally:
        parent.kill()
        parent.wait(60)


def test_a_container_that_ignores_signals(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.shell("trap '' TERM INT HUP QUIT; echo up; while :; do sleep 0.1; done")
    container_id = hookrun.run_detached(bundle.path)
    wait_for(lambda: "up" in (bundle.path / f"{container_id}.output").read_text(), "the trap")
    assert hookrun.call("kill", container_id, "TERM").status == 0
    assert hookrun.call("delete", container_id).status == 1
    assert hookrun.state(container_id)["status"] == "running"
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []


HOOKS: dict[str, tuple[dict[str, object], bool]] = {
    "hangs": ({"args": ["sh", "-c", "exec sleep 1000"], "timeout": 1}, False),
    "floods stdout and fails": ({"args": ["sh", "-c", "head -c 50000000 /dev/zero; exit 1"]}, False),
    "floods stdout": ({"args": ["sh", "-c", "head -c 50000000 /dev/zero"]}, True),
    "floods stderr": ({"args": ["sh", "-c", "head -c 50000000 /dev/zero >&2"]}, True),
    "leaves a daemon with its output open": ({"args": ["sh", "-c", "sleep 7 & exit 0"]}, True),
    "kills itself": ({"args": ["sh", "-c", "kill -9 $$"]}, False),
    "does not read its input": ({"args": ["sh", "-c", "exec <&-; exit 0"]}, True),
    "is not there": ({"path": "/no/such/hook", "args": ["hook"]}, False),
    "removes the bundle's config": ({"args": ["sh", "-c", "rm -f $CONFIG"]}, True),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that(bundle: Bundle, hookrun: Runtime, stage: str, name: str) -> None:
    fields, succeeds = HOOKS[name]
    hook = {"path": "/bin/sh", "env": ["PATH=/usr/bin:/bin", f"CONFIG={bundle.path}/config.json"], **fields}
    if stage == "createContainer":
        hook["path"] = str(hook["path"])
    bundle.config["hooks"] = {stage: [hook]}
    container_id = fresh_id("hook")
    bundle.command("sh", "-c", f": {container_id}; sleep 1000")
    mounts = leaks.mounts()
    result = hookrun.call_leaving("create", "--bundle", str(bundle.path), container_id, output=bundle.path / "output")
    assert (result.status == 0) == succeeds, result.out
    if not succeeds:
        assert "hook" in result.out
        assert len(result.out) < 100_000
        assert_clean(hookrun, container_id, mounts)
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert_clean(hookrun, container_id, mounts)


def in_parallel(*actions: Callable[[], object]) -> None:
    """Let all begin at the same moment, and wait for all."""
    barrier = threading.Barrier(len(actions))

    def act(action: Callable[[], object]) -> None:
        barrier.wait(60)
        action()

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def test_delete_against_start(bundle: Bundle, hookrun: Runtime) -> None:
    mounts = leaks.mounts()
    for _ in range(12):
        container_id = fresh_id("race")
        bundle.command("sh", "-c", f": {container_id}; sleep 1000")
        hookrun.create(bundle.path, container_id=container_id)
        in_parallel(
            partial(hookrun.call, "start", container_id),
            partial(hookrun.call, "delete", "--force", container_id),
        )
        hookrun.call("delete", "--force", container_id)
        assert_clean(hookrun, container_id, mounts)


def _has_no_process(container_id: str) -> bool:
    return leaks.processes(container_id) == []


def test_exec_against_delete(bundle: Bundle, hookrun: Runtime) -> None:
    mounts = leaks.mounts()
    for _ in range(12):
        container_id = fresh_id("race")
        bundle.command("sh", "-c", f": {container_id}; sleep 1000")
        hookrun.run_detached(bundle.path, container_id=container_id)
        in_parallel(
            partial(hookrun.call, "exec", container_id, "sh", "-c", f": {container_id}; sleep 5"),
            partial(hookrun.call, "delete", "--force", container_id),
        )
        hookrun.call("delete", "--force", container_id)
        wait_for(partial(_has_no_process, container_id), "every process's end")
        assert_clean(hookrun, container_id, mounts)


def test_two_deletes_at_once(bundle: Bundle, hookrun: Runtime) -> None:
    mounts = leaks.mounts()
    for _ in range(12):
        container_id = hookrun.run_detached(bundle.command("sleep", "1000").path)
        in_parallel(*[lambda i=container_id: hookrun.call("delete", "--force", i)] * 3)
        assert_clean(hookrun, container_id, mounts)


def test_ctrl_c_on_run_takes_the_container_along(bundle: Bundle, hookrun: Runtime) -> None:
    """SIGINT goes to the container's process; a runtime that is killed outright leaves what `delete --force` finds."""
    container_id = fresh_id("int")
    bundle.shell(f": {container_id}; trap 'exit 9' INT; while :; do sleep 0.1; done")
    process = subprocess.Popen(
        [hookrun.program, *hookrun.globals, "run", "--bundle", str(bundle.path), container_id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(
        lambda: hookrun.call("state", container_id).status == 0 and hookrun.state(container_id)["status"] == "running",
        "the container",
    )
    wait_for(lambda: len(leaks.processes(container_id)) >= 2, "its shell")
    pid = hookrun.state(container_id)["pid"]
    wait_for(
        lambda: (
            int(
                next(
                    line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")
                ).split()[1],
                16,
            )
            >> (signal.SIGINT - 1)
            & 1
            == 1
        ),
        "the trap",
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 9
    assert not (hookrun.root / container_id).exists()
    assert leaks.cgroups(container_id) == []
