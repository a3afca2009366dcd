"""Who called: the calling process, and the container engine above it."""

from __future__ import annotations

import os

from hookrun.runtime.jsonio import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


class Caller:
    """The process that called hookrun. Fields are empty where /proc does not tell."""

    __slots__ = ("cmdline", "engine", "exe", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exe = _exe(pid)
        self.cmdline = _cmdline(pid)
        self.engine = _engine(self)

    def as_dict(self) -> dict[str, Any]:
        """For the record; the command line is still unmasked."""
        return {"pid": self.pid, "exe": self.exe, "cmdline": self.cmdline}


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
    try:
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[1])
