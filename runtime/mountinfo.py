"""The mounts that a process sees, from /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

from hookrun.runtime.jsonio import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class MountInfo:
    """One line."""

    __slots__ = ("device", "id", "kind", "parent", "path", "root", "super_options")

    def __init__(self, line: str) -> None:
        mount, _, filesystem = line.partition(" - ")
        fields = mount.split(" ", 5)
        self.id = int(fields[0])
        self.parent = int(fields[1])
        """The id of the mount that it lies on."""
        self.device = fields[2]
        """Major:minor of the file system, the same for all mounts that show it."""
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
    if "\\" in text:
        for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
            text = text.replace(code, letter)
    return text


class MountTable:
    """All mounts of the calling process's namespace, read once, when the first one is asked for.

    Every method raises OSError where they can't be read.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[int, MountInfo] | None = None

    def _by_id(self) -> dict[int, MountInfo]:
        if self._found is None:
            self._found = {mount.id: mount for mount in read()}
        return self._found

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
            for mount in self._by_id().values()
            if mount.device == device and is_within(inner, mount.root)
        ]

    def below(self, mount_id: int, path: str) -> list[MountInfo]:
        """The mounts that a recursive bind of `path` on the mount `mount_id` takes along."""
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


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory's own or below it; both absolute and without `.`, `..` and `//`."""
    return directory in (path, "/") or path.startswith(f"{directory}/")


def joined(directory: str, rest: str) -> str:
    """A directory's path with the rest of a path behind it, which begins with "/" or is empty."""
    rest = rest.strip("/")
    return f"{directory.rstrip('/')}/{rest}" if rest else directory
