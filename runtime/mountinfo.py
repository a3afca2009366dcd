"""The mounts that a process sees, from /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

from hookrun.runtime.jsonio import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class MountInfo:
    """One line."""

    __slots__ = ("kind", "path", "root", "super_options")

    def __init__(self, line: str) -> None:
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ")
        self.root = _unescaped(fields[3])
        """The part of the file system that the mount shows."""
        self.path = _unescaped(fields[4])
        kinds = filesystem.split(" ")
        self.kind = kinds[0]
        self.super_options = kinds[2].split(",")


def read() -> Iterator[MountInfo]:
    """The calling process's mounts, in the kernel's order. Raises OSError."""
    text = read_bytes("/proc/self/mountinfo").decode("utf-8", "surrogateescape")
    return (MountInfo(line) for line in text.splitlines())


def _unescaped(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
