"""No code is loaded once a namespace is entered: inside, it would be looked for in the container's files.

strace(1) watches every path that the runtime's processes ask for, cold and without the archive, for all features at
once. `linux/imports.py` shuts the door; the tests break where somebody needs what is behind it.
"""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import hookrun.runtime
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import imports
from tests.runtime.test_seccomp import agent, profile
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, HOOKRUN, PATIENCE, Runtime, fresh_id, wait_for

USER = 4322
RUNTIME = Path(hookrun.runtime.__file__).parent
ENTERING = re.compile(r"^(clone3|setns|unshare|pivot_root)\(")
ASKING = re.compile(
    r'^(?:open|openat|openat2|stat|lstat|newfstatat|statx|access|faccessat2?|readlink|readlinkat)\([^"]*"([^"]*)"'
)
CODE = re.compile(
    r"(\.py|\.pyc|\.so(\.[\d.]+)?|\.pth)$|/(hookrun/(runtime|wrapper|hooks|policies)|python3[.\d]*)(/|$)|/__pycache__|/code$"
)


class Trace:
    """What the runtime's own processes, up to their execve, asked for by path after the first of them entered."""

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self.entered = False
        others: set[str] = set()
        for line in path.read_text(errors="replace").splitlines():
            pid, _, call = line.partition(" ")
            call = call.strip()
            if ENTERING.match(call):
                self.entered = True
            if self.entered and call.startswith("execve("):
                others.add(pid)  # a hook, the container's program, newuidmap
            found = ASKING.match(call)
            if self.entered and found and pid not in others:
                self.asked.append(found[1])

    def code(self) -> list[str]:
        return [path for path in self.asked if CODE.search(path)]


def under_strace(output: Path, runtime: Runtime, *words: str, user: int | None = None) -> list[str]:
    calls = "clone,clone3,vfork,setns,unshare,pivot_root,execve,open,openat,openat2,stat,lstat,newfstatat,statx,access,faccessat,faccessat2,readlink,readlinkat"
    line = [
        "strace",
        "-f",
        "-qq",
        "-s",
        "300",
        "-e",
        f"trace={calls}",
        "-o",
        str(output),
        runtime.program,
        *runtime.globals,
        *words,
    ]
    if user is None:
        return line
    return ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", *line]


def traced(
    directory: Path,
    runtime: Runtime,
    *words: str,
    user: int | None = None,
    terminal: bool = False,
    env: dict[str, str] | None = None,
) -> tuple[Trace, int, str]:
    """Run a command that leaves no process behind, on which strace would wait; its trace, status and what it said."""
    output, said = directory / "trace", directory / "said"
    line = under_strace(output, runtime, *words, user=user)
    environment = {**os.environ, **(env or {})}
    with said.open("wb") as file:
        if terminal:
            master, slave = pty.openpty()
            reader = threading.Thread(target=_drain, args=(master,), daemon=True)
            reader.start()
            done = subprocess.run(
                line, stdin=slave, stdout=slave, stderr=file, timeout=PATIENCE, check=False, env=environment
            )
            os.close(slave)
            reader.join(5)
        else:
            done = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=PATIENCE, check=False, env=environment
            )
    return Trace(output), done.returncode, said.read_text(errors="replace")


class Detached:
    """A container that runs on while strace watches; `end` deletes it and gives the trace."""

    def __init__(
        self,
        directory: Path,
        runtime: Runtime,
        bundle: Bundle,
        user: int | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.id = fresh_id("im")
        self._output, self._said = directory / "trace-run", directory / "said-run"
        self._call = {"user": user, "env": env}
        self._runtime = runtime
        words = under_strace(self._output, runtime, "run", "--detach", "--bundle", str(bundle.path), self.id, user=user)
        with self._said.open("wb") as file:
            self._strace = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **(env or {})}
            )
        wait_for(self._has_started, "the container")

    def _has_started(self) -> bool:
        assert self._strace.poll() is None, self._said.read_text(errors="replace")
        state = self._runtime.call("state", self.id, **self._call)  # type: ignore[arg-type]
        return state.status == 0 and json.loads(state.out)["status"] == "running"

    def end(self) -> Trace:
        self._runtime.call("delete", "--force", self.id, **self._call)  # type: ignore[arg-type]
        self._strace.wait(PATIENCE)
        return Trace(self._output)


def _drain(master: int) -> None:
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        pass
    os.close(master)


def with_everything(bundle: Bundle, directory: Path) -> Bundle:
    """All features that take a module of their own, but labels: those have a test of their own."""
    hook = {"path": "/bin/true", "timeout": 20}
    inside = {"path": "/bin/busybox", "args": ["busybox", "true"], "timeout": 20}
    bundle.config["hooks"] = {
        **{stage: [hook] for stage in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")},
        "startContainer": [inside],
    }
    bundle.process.update(
        scheduler={"policy": "SCHED_BATCH", "nice": 1},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4},
        execCPUAffinity={"initial": "0", "final": "0"},
        oomScoreAdj=300,
        consoleSize={"height": 20, "width": 70},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}],
        user={"uid": 0, "gid": 0, "umask": 0o27, "additionalGids": [5]},
    )
    bundle.linux.update(
        personality={"domain": "LINUX"},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"},
        sysctl={"net.ipv4.ip_forward": "1"},
        devices=[{"path": "/dev/hr", "type": "c", "major": 1, "minor": 3}],
        seccomp=profile({"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}, listenerPath=str(directory / "agent")),
        mountLabel="system_u:object_r:container_file_t:s0",
    )
    bundle.linux["namespaces"] += [{"type": "cgroup"}, {"type": "time"}]
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 100}}
    bundle.linux["resources"] = {
        "memory": {"limit": 256 << 20},
        "pids": {"limit": 100},
        "cpu": {"shares": 512},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    return bundle


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with short paths, for sockets, that every user reaches."""
    directory = Path(tempfile.mkdtemp(prefix="hr-im-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def device() -> Iterator[str]:
    name = f"hri{os.getpid() % 100000}"
    subprocess.run(
        ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    yield name
    subprocess.run(
        ["ip", "link", "delete", f"{name}p"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )


def test_run_and_exec_with_every_feature_load_nothing(
    bundle: Bundle, hookrun: Runtime, place: Path, device: str
) -> None:
    with_everything(bundle, place).linux["netDevices"] = {device: {"name": "inside0"}}
    bundle.command("sleep", "1000")
    (bundle.rootfs / "bin/exit6").write_text("#!/bin/sh\nexit 6\n")
    (bundle.rootfs / "bin/exit6").chmod(0o755)
    notify = {"NOTIFY_SOCKET": str(place / "n")}
    with agent(place / "agent"):
        container = Detached(place, hookrun, bundle)
        try:
            bundle.process["terminal"] = True
            process = place / "process.json"
            process.write_text(json.dumps({**bundle.process, "args": ["sh", "-c", "mkdir /tmp/x; exit 7"]}))
            trace, status, said = traced(place, hookrun, "exec", "--process", str(process), container.id, terminal=True)
        finally:
            whole = container.end()
        assert (status, said) == (7, "")
        assert trace.entered
        assert trace.code() == []
        assert whole.entered
        assert whole.code() == []
        del bundle.linux["netDevices"]
        for program, expected in (("exit6", 6), ("nosuchprogram", 1)):
            bundle.command(program)
            trace, status, said = traced(
                place, hookrun, "run", "--bundle", str(bundle.path), fresh_id("im"), terminal=True, env=notify
            )
            assert status == expected, said
            assert "internal error" not in said
            assert trace.code() == []


def test_a_user_namespace_with_mapped_mounts_loads_nothing(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    with_everything(bundle, place).with_user_namespace()
    del bundle.linux["sysctl"], bundle.linux["devices"]
    bundle.process.update(oomScoreAdj=500)
    source = place / "source"
    source.mkdir(mode=0o700)
    bundle.add_mount("/mapped", "bind", str(source), "bind", "idmap")
    bundle.config["mounts"][-1]["uidMappings"] = bundle.config["mounts"][-1]["gidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 1000}
    ]
    bundle.command("sh", "-c", "exit 5")
    with agent(place / "agent"):
        trace, status, said = traced(place, hookrun, "run", "--bundle", str(bundle.path), fresh_id("im"))
    assert status == 5, said
    assert trace.code() == []


@pytest.mark.parametrize("field", ["apparmorProfile", "selinuxLabel"])
def test_a_label_loads_nothing(field: str, bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    """A kernel without the module refuses the label: by then everything that it takes was there."""
    bundle.process[field] = "some_label_t"
    bundle.command("true")
    trace, _, said = traced(place, hookrun, "run", "--bundle", str(bundle.path), fresh_id("im"))
    assert "internal error" not in said
    assert trace.code() == []


def test_a_container_that_fails_late_is_cleaned_up_without_loading_anything(
    bundle: Bundle, hookrun: Runtime, place: Path
) -> None:
    with_everything(bundle, place)
    bundle.linux["seccomp"]["syscalls"] = []
    bundle.config["hooks"]["startContainer"] = [{"path": "/bin/false"}]
    bundle.config["hooks"]["createContainer"] = [{"path": "/bin/false"}]
    container = fresh_id("im")
    bundle.command("true")
    trace, status, said = traced(place, hookrun, "run", "--bundle", str(bundle.path), container)
    assert status == 1
    assert "createContainer hook" in said
    assert "internal error" not in said
    assert "cleaning up" not in said
    assert trace.code() == []
    assert not (hookrun.root / container).exists()


# --- an ordinary user: born inside, with what the image holds in the place of the runtime's own files


def plant(rootfs: Path) -> None:
    """Modules of the runtime's names wherever Python looks for them on this host."""
    trap = "import os\nos.write(2, b'PLANTED ' + __name__.encode() + b'\\n')\nos._exit(99)\n"
    searched = subprocess.run(
        [HOOKRUN.parent / "python", "-c", "import sys, hookrun.runtime as r; print(*sys.path, *r.__path__, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    ).stdout.split()
    packages = {path.parent for place in (RUNTIME, RUNTIME.resolve()) for path in place.rglob("__init__.py")}
    for directory in {*map(Path, searched), *packages}:
        target = rootfs / str(directory).lstrip("/")
        if directory.suffix != ".zip":
            target.mkdir(parents=True, exist_ok=True)
            for name in (
                "placement",
                "scheduling",
                "lsm",
                "select",
                "fcntl",
                "_socket",
                "termios",
                "procfs",
                "seccomp",
            ):
                (target / f"{name}.py").write_text(trap)


@pytest.mark.skipif(BY_SYSTEMD, reason="a user has a systemd to ask in a login session alone")
def test_a_rootless_exec_takes_no_module_of_the_image(place: Path) -> None:
    runtime = Runtime(HOOKRUN, place / "root")
    bundle = Bundle(place / "bundle")
    plant(bundle.rootfs)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", place], check=True, stdin=subprocess.DEVNULL, timeout=60)
    environment = {"XDG_RUNTIME_DIR": str(place)}
    runtime.call("spec", "--rootless", "--bundle", str(bundle.path), user=USER, env=environment)
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.config["root"]["readonly"] = False
    bundle.process.pop("rlimits", None)
    bundle.linux["personality"] = {"domain": "LINUX"}
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH"}
    bundle.command("sleep", "1000")
    container = Detached(place, runtime, bundle, USER, environment)
    try:
        process = place / "process.json"
        wanted = {
            **bundle.process,
            "args": ["sh", "-c", "exit 7"],
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "execCPUAffinity": {"initial": "0", "final": "0"},
        }
        for changed in ({}, {"apparmorProfile": "x"}, {"selinuxLabel": "x"}):
            process.write_text(json.dumps({**wanted, **changed}))
            trace, status, said = traced(
                place, runtime, "exec", "--process", str(process), container.id, user=USER, env=environment
            )
            assert changed or (status, said) == (7, "")
            assert "PLANTED" not in said
            assert "internal error" not in said
            assert trace.entered or "selinux" in said
            assert trace.code() == []
    finally:
        whole = container.end()
    assert whole.entered
    assert whole.code() == []


# --- the door


def test_the_door_is_shut_by_whoever_enters() -> None:
    child = os.fork()
    if not child:
        try:
            imports.close()
            try:
                __import__("this")
            except Failure as failure:
                os._exit(0 if "this was not loaded before" in failure.text else 3)
            os._exit(2)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not imports.are_closed()


# What a function may import: each says why it does not do so at the top of its module.
LATE = {
    ("jsonio", "_scan_explaining"),
    ("commands/checkpoint", "run"),
    ("commands/ps", "_ps"),
    ("commands/restore", "run"),
    ("criu/flags", "fill"),
}


def test_modules_import_at_their_top() -> None:
    """What a function imports might be asked for once a namespace is entered."""
    found = {
        (str(path.relative_to(RUNTIME).with_suffix("")), function.name)
        for path in RUNTIME.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert found == LATE
