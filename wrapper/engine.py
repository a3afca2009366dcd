"""Who called: the calling process, and the container engine above it."""

from __future__ import annotations

import sys

from hookrun.runtime.jsonio import read_bytes
from hookrun.runtime.linux import os

_NAMES = {
    "dockerd": "docker",
    "podman": "podman",
    "crio": "cri-o",
    "buildkitd": "buildkit",
    "buildah": "buildah",
    "containerd": "containerd",
    "kubelet": "kubernetes",
}
_NAMESPACES = {"moby": "docker", "plugins.moby": "docker", "k8s.io": "kubernetes", "buildkit": "buildkit"}
_FURTHEST = 8


class Process:
    """A process. Fields are empty where /proc does not tell."""

    __slots__ = ("cmdline", "exe", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exe = _exe(pid)
        self.cmdline = _cmdline(pid)


class Caller(Process):
    """The process that called hookrun."""

    __slots__ = ("engine",)

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.engine = _engine(self)

    def above(self, ask: bool) -> Process | None:
        """The process above the caller, for a shim the engine; None where it can't be known.

        A containerd shim's parent is not the engine. With `ask`, who listens at the socket on the shim's command line
        is asked of the kernel, which takes a connection.
        """
        pid = _parent(self.pid)
        if pid <= 1 and ask:
            pid = _listener(_after(self.cmdline, "-address", "--address"))
        if pid <= 1:
            return None
        higher = _parent(pid)
        return Process(higher if os.path.basename(_exe(higher)) in _NAMES else pid)


def caller() -> Caller:
    """The process that called this one."""
    return Caller(os.getppid())


def _engine(process: Caller) -> str:
    """The engine's name: docker, containerd, kubernetes, podman, cri-o, buildkit, buildah, or the caller's own name.

    containerd's shims and conmon have no engine for a parent once they run; they carry its name on their command line.
    """
    name = os.path.basename(process.exe or (process.cmdline or [""])[0])
    if name.startswith("containerd-shim") or name == "docker-containerd-shim":
        namespace = _after(process.cmdline, "-namespace", "--namespace")
        return _NAMESPACES.get(namespace, "containerd")
    if name == "conmon":
        exit_command = os.path.basename(_after(process.cmdline, "--exit-command"))
        return _NAMES.get(exit_command, "cri-o")
    return _NAMES.get(name) or _ancestor(process.pid) or name


def _ancestor(pid: int) -> str:
    """The first engine among the parents, for scripts between an engine and hookrun."""
    for _ in range(_FURTHEST):
        pid = _parent(pid)
        if pid <= 1:
            break
        name = _NAMES.get(os.path.basename(_exe(pid)))
        if name:
            return name
    return ""


def _after(words: list[str], *options: str) -> str:
    for position, word in enumerate(words[:-1]):
        if word in options:
            return words[position + 1]
    return ""


def _listener(path: str) -> int:
    """The pid of who listens at a unix socket, 0 if that can't be told (SO_PEERCRED, unix(7))."""
    if not path:
        return 0
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        return int.from_bytes(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[:4], sys.byteorder)
    except OSError:
        return 0
    finally:
        connection.close()


def _exe(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def _cmdline(pid: int) -> list[str]:
    try:
        data = read_bytes(f"/proc/{pid}/cmdline")
    except OSError:
        return []
    return [os.fsdecode(word) for word in data.removesuffix(b"\0").split(b"\0")] if data else []


def _parent(pid: int) -> int:
    """The pid of a process's parent, from /proc/PID/stat (proc(5)); 0 where it can't be told."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.read(descriptor, 512).rpartition(b")")[2].split()[1])
    except (OSError, IndexError):  # it ended meanwhile
        return 0
    finally:
        os.close(descriptor)
