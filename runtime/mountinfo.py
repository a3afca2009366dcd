"""The mounts that a process sees, from /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

from hookrun.runtime.jsonio import read_bytes
from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


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
    return _parsed(read_bytes(_FILE))


def _rest(file: int) -> bytes:
    data = b""
    while part := os.read(file, _CHUNK):
        data += part
    return data


def _parsed(data: bytes) -> Iterator[MountInfo]:
    return (MountInfo(line) for line in data.decode("utf-8", "surrogateescape").splitlines())


def _unescaped(text: str) -> str:
    if "\\" in text:
        for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
            text = text.replace(code, letter)
    return text


class MountTable:
    """All mounts of the calling process's namespace, read once, when the first one is asked for.

    Every method raises OSError where they can't be read.
    """

    __slots__ = ("_by_device", "_file", "_found", "_text")

    def __init__(self, file: int = -1) -> None:
        """`file` is /proc/self/mountinfo where it is open already."""
        self._file = file
        self._text: bytes | None = None
        self._found: dict[int, MountInfo] | None = None
        self._by_device: dict[str, list[MountInfo]] = {}

    def _by_id(self) -> dict[int, MountInfo]:
        if self._found is None:
            self._found = {mount.id: mount for mount in _parsed(self._read())}
            for mount in self._found.values():
                self._by_device.setdefault(mount.device, []).append(mount)
        return self._found

    def on(self, device: str) -> list[MountInfo]:
        """The mounts that show parts of one file system."""
        self._by_id()
        return self._by_device.get(device, [])

    def _read(self) -> bytes:
        if self._text is None:
            self._text = read_bytes(_FILE) if self._file < 0 else _rest(self._file)
        return self._text

    def _names_below(self, path: bytes) -> bool:
        text = self._read()
        return path + b"/" in text or path + b" " in text

    def get(self, mount_id: int) -> MountInfo | None:
        """The mount of an id (statx(2) stx_mnt_id); None where it lies in another namespace."""
        return self._by_id().get(mount_id)

    def of_kind(self, kind: str) -> list[MountInfo]:
        """The mounts of file systems of a type."""
        return [mount for mount in self._by_id().values() if mount.kind == kind]

    def devices(self, but: str) -> set[str]:
        """The device numbers of all file systems but those of one type."""
        return {mount.device for mount in self._by_id().values() if mount.kind != but}

    def names(self, device: str, inner: str) -> list[tuple[str, str]]:
        """(root of the mount, path) for each mount that shows the place `inner` of a file system."""
        return [
            (mount.root, joined(mount.path, inner[len(mount.root.rstrip("/")) :]))
            for mount in self.on(device)
            if is_within(inner, mount.root)
        ]

    def below(self, mount_id: int, path: str) -> list[MountInfo]:
        """The mounts that a recursive bind of `path` on the mount `mount_id` takes along."""
        if path != "/" and not self._names_below(_escaped(path)):  # so of nearly every source, and quickly told
            return []
        children: dict[int, list[MountInfo]] = {}
        for mount in self._by_id().values():
            if is_within(mount.path, path):
                children.setdefault(mount.parent, []).append(mount)
        found: list[MountInfo] = []
        left = [mount_id]
        while left:
            more = children.pop(left.pop(), [])
            found += more
            left += [mount.id for mount in more]
        return found


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
