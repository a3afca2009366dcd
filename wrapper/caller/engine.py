"""Who called: the calling process, and the container engine above it.

Policies exempt engines, so the name must be nothing that a caller can choose. Where the host's root runs hookrun, an
engine is a process that root runs too, from a file that root alone can write; only of such a process is the command
line believed. A user who runs hookrun himself runs his engine himself as well and can make it say anything: his Podman
and Buildah keep their names, which any user can have, but his daemons are called `rootless-docker` and the like.
What containerd's namespaces claim (`-namespace moby`) anybody with its socket can claim too: see `claims`.
"""

from __future__ import annotations

import os
import socket
import sys

from hookrun.runtime.linux.files import read_bytes
from hookrun.runtime.linux.namespaces import in_user_namespace
from hookrun.wrapper.ownership import OTHERS_WRITE

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
_OF_ANY_USER = ("podman", "buildah")  # which have no daemon
_ROOTLESS = "rootless-"
_FURTHEST = 8


class Process:
    """A process. Fields are empty where /proc does not tell."""

    __slots__ = ("cmdline", "exe", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exe = _exe(pid)
        self.cmdline = _cmdline(pid)


class Caller(Process):
    """The process that called hookrun.

    `engine` is the engine's name: docker, containerd, kubernetes, podman, cri-o, buildkit, buildah, or the caller's own
    name, which is "" where it would be taken for an engine's. `shim` is the pid of the containerd shim that says so,
    0 where none does.
    """

    __slots__ = ("engine", "shim")

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.engine, self.shim = _engine(self)

    def above(self, ask: bool) -> Process | None:
        """The process above the caller, for a shim the engine; None where it can't be known.

        A containerd shim's parent is not the engine. With `ask`, who listens at the socket on the shim's command line
        is asked of the kernel, which takes a connection.
        """
        pid = _parent(self.pid)
        if pid <= 1 and ask:
            pid = _listener(after(self.cmdline, "-address", "--address"))
        if pid <= 1:
            return None
        higher = _parent(pid)
        return Process(higher if os.path.basename(_exe(higher)) in _NAMES else pid)


def caller() -> Caller:
    """The process that called this one."""
    return Caller(os.getppid())


def is_rootless() -> bool:
    """Whether a user calls, who may be root in a user namespace of his own."""
    return os.geteuid() != 0 or in_user_namespace()


def _engine(caller: Process) -> tuple[str, int]:
    """The nearest engine's name, for there may be scripts between an engine and hookrun; and its shim's pid."""
    of_user = is_rootless()
    pid = caller.pid
    for _ in range(_FURTHEST):
        if pid <= 1:
            break
        name, is_shim = _named(pid)
        if name and of_user:
            return (name if name in _OF_ANY_USER else _ROOTLESS + name), 0
        if name and _is_roots(pid):
            return name, pid if is_shim else 0
        pid = _parent(pid)
    own = os.path.basename(caller.exe or (caller.cmdline or [""])[0])
    return ("" if own in _NAMES.values() or own.startswith(_ROOTLESS) else own), 0


def _named(pid: int) -> tuple[str, bool]:
    """The engine that a process is a part of, "" if none, and whether the process is a shim of containerd's.

    Shims and conmon have no engine for a parent once they run; they carry its name on their command line. Podman alone
    has conmon call something at the container's exit.
    """
    name = os.path.basename(_exe(pid))
    if name.startswith("containerd-shim") or name == "docker-containerd-shim":
        namespace = after(_cmdline(pid), "-namespace", "--namespace")
        return _NAMESPACES.get(namespace, "containerd"), True
    if name == "conmon":
        exit_command = after(_cmdline(pid), "--exit-command")
        return ("podman" if exit_command else "cri-o"), False
    return _NAMES.get(name, ""), False


def _is_roots(pid: int) -> bool:
    """Whether root runs a process, from a file that nobody else can write (proc(5), /proc/PID/status: Uid)."""
    try:
        file = os.stat(f"/proc/{pid}/exe")
        status = read_bytes(f"/proc/{pid}/status")
    except OSError:
        return False
    if file.st_uid != 0 or file.st_mode & OTHERS_WRITE:
        return False
    real, effective = status.partition(b"\nUid:")[2].split(None, 2)[:2]
    return real == effective == b"0"


def after(words: list[str], *options: str) -> str:
    for position, word in enumerate(words[:-1]):
        if word in options:
            return words[position + 1]
    return ""


def _listener(path: str) -> int:
    """The pid of who listens at a unix socket, 0 if that can't be told (SO_PEERCRED, unix(7))."""
    if not path:
        return 0
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.connect(path)
        return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
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
