"""The mounts that a process sees, from /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hookrun.runtime.linux.files import read_bytes

_FILE = "/proc/self/mountinfo"
_CHUNK = 1 << 16


class MountInfo:
    """One line."""

    __slots__ = ("device", "id", "kind", "parent", "path", "propagates", "root", "super_options")

    def __init__(self, line: str) -> None:
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ", 6)
        self.id = int(fields[0])
        self.parent = int(fields[1])
        """The id of the mount that it lies on."""
        self.device = fields[2]
        """Major:minor of the file system, the same for all mounts that show it."""
        self.root = _unescaped(fields[3])
        """The part of the file system that the mount shows."""
        self.path = _unescaped(fields[4])
        self.propagates = "shared:" in fields[-1] or "master:" in fields[-1]
        """Whether what is mounted below it elsewhere appears here, or the other way round (mount_namespaces(7))."""
        kinds = filesystem.split(" ")
        self.kind = kinds[0]
        self.super_options = kinds[2].split(",")


def read() -> Iterator[MountInfo]:
    """The calling process's mounts, in the kernel's order. Raises OSError."""
    data = read_bytes(_FILE).decode("utf-8", "surrogateescape")
    return (MountInfo(line) for line in data.split("\n") if line)


def _rest(file: int) -> bytes:
    data = b""
    while part := os.read(file, _CHUNK):
        data += part
    return data


def _unescaped(text: str) -> str:
    if "\\" in text:
        for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
            text = text.replace(code, letter)
    return text


class MountTable:
    """All mounts of the calling process's namespace, read once, when the first one is asked for.

    A host may have hundreds: only the lines that an answer takes are parsed. Every method raises OSError where the
    mounts can't be read.
    """

    __slots__ = ("_by_id", "_file", "_names", "_on", "_parsed", "_text")

    def __init__(self, file: int = -1) -> None:
        """`file` is /proc/self/mountinfo where it is open already."""
        self._file = file
        self._text = b""
        self._parsed: dict[int, MountInfo] = {}
        self._by_id: dict[int, MountInfo | None] = {}
        self._on: dict[str, list[MountInfo]] = {}
        self._names: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def on(self, device: str) -> list[MountInfo]:
        """The mounts that show parts of one file system."""
        if device not in self._on:
            self._on[device] = [mount for mount in self._lines_with(f" {device} ".encode()) if mount.device == device]
        return self._on[device]

    def get(self, mount_id: int) -> MountInfo | None:
        """The mount of an id (statx(2) stx_mnt_id); None where it lies in another namespace."""
        if mount_id not in self._by_id:
            self._by_id[mount_id] = next(self._lines_with(b"\n%d " % mount_id), None)
        return self._by_id[mount_id]

    def of_kind(self, kind: str) -> list[MountInfo]:
        """The mounts of file systems of a type."""
        return [mount for mount in self._lines_with(f" - {kind} ".encode()) if mount.kind == kind]

    def names(self, device: str, inner: str) -> list[tuple[str, str]]:
        """(root of the mount, path) for each mount that shows the place `inner` of a file system."""
        key = device, inner
        if key not in self._names:
            self._names[key] = [
                (mount.root, joined(mount.path, inner[len(mount.root.rstrip("/")) :]))
                for mount in self.on(device)
                if is_within(inner, mount.root)
            ]
        return self._names[key]

    def below(self, mount_id: int, path: str) -> list[MountInfo]:
        """The mounts that a recursive bind of `path` on the mount `mount_id` takes along."""
        children: dict[int, list[MountInfo]] = {}
        for mount in self._within(path):
            children.setdefault(mount.parent, []).append(mount)
        found: list[MountInfo] = []
        left = [mount_id]
        while left and children:
            more = children.pop(left.pop(), [])
            found += more
            left += [mount.id for mount in more]
        return found

    def _within(self, path: str) -> list[MountInfo]:
        """The mounts at a path and below it."""
        if path == "/":
            return list(self._lines_with(b"\n"))
        start = _escaped(path)
        found = [mount for end in (b" ", b"/") for mount in self._lines_with(start + end)]
        return [mount for mount in dict.fromkeys(found) if is_within(mount.path, path)]

    def _lines_with(self, part: bytes) -> Iterator[MountInfo]:
        """The mounts in whose lines, each with the "\\n" before it, some bytes stand."""
        text = self._text or self._read()
        at = text.find(part)
        while at >= 0:
            start, end = text.rfind(b"\n", 0, at + 1), text.find(b"\n", at + 1)
            if end < 0:
                return
            if start not in self._parsed:
                self._parsed[start] = MountInfo(text[start + 1 : end].decode("utf-8", "surrogateescape"))
            yield self._parsed[start]
            at = text.find(part, end)

    def _read(self) -> bytes:
        self._text = b"\n" + (read_bytes(_FILE) if self._file < 0 else _rest(self._file))
        return self._text


def _escaped(path: str) -> bytes:
    """As the kernel writes it (proc_pid_mountinfo(5)), with the separator before it."""
    for letter, code in (("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012"), ("#", "\\043")):
        path = path.replace(letter, code)
    return b" " + path.encode("utf-8", "surrogateescape")


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory's own or below it; both absolute and without `.`, `..` and `//`."""
    return directory in (path, "/") or path.startswith(f"{directory}/")


def joined(directory: str, rest: str) -> str:
    """A directory's path with the rest of a path behind it, which begins with "/" or is empty."""
    rest = rest.strip("/")
    return f"{directory.rstrip('/')}/{rest}" if rest else directory
