"""Containers that are saved and brought back, and what is found in them."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.bundles import Bundle
from tests.support.runtimes import Result, Runtime, fresh_id, wait_for

# Two processes and a pipe between them: the second notes down what the first counts. By directories: CRIU brings no file
# back that was open and has another size by then.
COUNTER = """
echo kept > /scratch/file; rm -rf /counts; mkdir /counts
i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done | while read n; do mkdir /counts/$n; done
"""
MASKED_FILES = ("/proc/kcore", "/proc/keys", "/proc/timer_list")
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Saved(NamedTuple):
    """Where the images and the logs of a checkpoint are."""

    images: Path
    work: Path

    def flags(self) -> list[str]:
        return ["--image-path", str(self.images), "--work-path", str(self.work)]


def start(runtime: Runtime, bundle: Bundle, *flags: str) -> str:
    """`run --detach` with streams that CRIU can save; returns the id."""
    container_id = runtime._note(fresh_id("ck"))
    result = silently(runtime, "run", "--detach", "--bundle", str(bundle.path), *flags, container_id)
    assert result.status == 0, result.err
    return container_id


def silently(runtime: Runtime, *words: str, cwd: Path | None = None) -> Result:
    """A command whose streams, and so the container's, are /dev/null; its errors come from its log."""
    log = runtime.root.with_suffix(".log")
    log.unlink(missing_ok=True)
    null = subprocess.DEVNULL
    done = subprocess.run(
        [runtime.program, *runtime.globals, "--log", str(log), *words],
        cwd=cwd,
        stdin=null,
        stdout=null,
        stderr=null,
        timeout=120,
    )
    return Result(done.returncode, "", log.read_text() if log.exists() else "")


def checkpoint(runtime: Runtime, container_id: str, saved: Saved, *flags: str) -> Result:
    return runtime.call("checkpoint", *saved.flags(), *flags, container_id, cwd=saved.images.parent)


def restore(runtime: Runtime, bundle: Bundle, saved: Saved, *flags: str, container_id: str = "") -> str:
    """`restore --detach`, which must succeed; returns the id."""
    container_id = runtime._note(container_id or fresh_id("ck"))
    result = try_restore(runtime, bundle, saved, *flags, container_id=container_id)
    assert result.status == 0, result.err
    return container_id


def try_restore(runtime: Runtime, bundle: Bundle, saved: Saved, *flags: str, container_id: str) -> Result:
    words = ["restore", "--detach", "--bundle", str(bundle.path), *saved.flags(), *flags, container_id]
    return silently(runtime, *words, cwd=bundle.path)


def rich(bundle: Bundle) -> Bundle:
    """A container with something of everything that a checkpoint has to bring back."""
    (bundle.path / "bound").write_text("of the host\n")
    (bundle.path / "shared").mkdir()
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m")
    bundle.add_mount("/bound", "bind", str(bundle.path / "bound"), "bind", "ro")
    bundle.add_mount("/shared/inner", "bind", str(bundle.path / "shared"), "bind")
    bundle.linux["resources"]["memory"] = {"limit": 64 << 20}
    bundle.linux["resources"]["pids"] = {"limit": 50}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
    }
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 123, "hard": 456}]
    bundle.config["hooks"] = {
        stage: [_hook(stage, bundle.path / "stages")]
        for stage in STAGES
        if stage not in ("startContainer", "createContainer")
    }
    return bundle.shell(COUNTER)


def _hook(stage: str, out: Path) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", f"echo {stage} >> {out}"], "env": ["PATH=/bin:/usr/bin"]}


def with_python(bundle: Bundle, script: str) -> Bundle:
    """Have the container run a script of the host's Python."""
    (bundle.rootfs / "lib").symlink_to("usr/lib")
    (bundle.rootfs / "lib64").symlink_to("usr/lib64")
    bundle.add_mount("/usr", "bind", "/usr", "rbind", "ro")
    return bundle.command("/usr/bin/python3", "-ISc", script)


def count(bundle: Bundle) -> int:
    """How far the container has counted."""
    counts = bundle.rootfs / "counts"
    return max(map(int, os.listdir(counts)), default=0) if counts.exists() else 0


def wait_for_more(bundle: Bundle, least: int) -> None:
    wait_for(lambda: count(bundle) > least, f"a count above {least}")


def inside(runtime: Runtime, container_id: str) -> dict[str, Any]:
    """What a container's processes find: their status, limits and mounts, files, the cgroups' limits."""
    shown = runtime.exec(
        container_id,
        "sh",
        "-c",
        "cat /scratch/file /bound /proc/1/limits; hostname x 2>&1; hostname; stat -c %a /scratch",
    )
    status = runtime.exec(container_id, "cat", "/proc/1/status").out.splitlines()
    mounts = runtime.exec(container_id, "cat", "/proc/1/mountinfo").out.splitlines()
    state = json.loads((runtime.root / container_id / "state.json").read_text())
    paths = state["cgroup_paths"]
    return {
        "shown": shown.out,
        "status": [
            line for line in status if re.match("(Name|Uid|Gid|Groups|NSpid|Cap|NoNewPrivs|Seccomp|Threads)", line)
        ],
        "mounts": {_mount(line) for line in mounts},
        "memory": Path(paths["memory"], "memory.limit_in_bytes").read_text()
        if "memory" in paths
        else Path(paths[""], "memory.max").read_text(),
        "pids": Path(paths.get("pids") or paths[""], "pids.max").read_text(),
        "streams": state["external_descriptors"],
        "state": sorted(state),
    }


def _mount(line: str) -> tuple[str, ...]:
    """Where a mount lies, what it shows and how; what masks a file is the host's /dev/null after a restore, as with runc."""
    before, after = line.split(" - ")
    place, attributes = before.split()[4:6]
    return (place, "masked") if place in MASKED_FILES else (place, attributes, after.split()[0])


class Console:
    """A console socket, and the terminal that came over it last."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen(4)
        self._listener.settimeout(60)
        self.master = -1

    def accept(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
        self._hang_up()
        self.master = descriptors[0]

    def answer(self, question: str, wanted: str) -> None:
        """Type a line, and read until the answer comes."""
        os.write(self.master, question.encode() + b"\n")
        said = b""
        while wanted.encode() not in said:
            assert select.select([self.master], [], [], 60)[0], said
            said += os.read(self.master, 1000)

    def _hang_up(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def close(self) -> None:
        self._hang_up()
        self._listener.close()
        self.place.unlink()


class Pipes:
    """Two pipes as a container's standard streams."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._answers, self.output = os.pipe()
        self.names = [os.readlink(f"/proc/self/fd/{end}") for end in (self.reader, self.output, self.output)]

    def call(self, runtime: Runtime, *words: str) -> None:
        """A command that leaves a container with these streams."""
        line = [runtime.program, *runtime.globals, *words]
        status = subprocess.run(line, stdin=self.reader, stdout=self.output, stderr=self.output, timeout=60).returncode
        assert status == 0, os.read(self._answers, 5000)

    def ask(self, question: str, answer: str) -> None:
        os.write(self.writer, question.encode() + b"\n")
        said = b""
        while answer.encode() not in said:
            assert select.select([self._answers], [], [], 60)[0], said
            said += os.read(self._answers, 1000)

    def close(self) -> None:
        for end in (self.reader, self.writer, self._answers, self.output):
            os.close(end)
