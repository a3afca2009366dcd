"""A procfs that is one: for sysctls, LSM labels and everything else that is written through /proc.

Inside a container /proc may be covered or replaced, and a write would then go to a file of the attacker's choice
(CVE-2019-16884, CVE-2025-52881). So the writes go through a procfs of our own that nobody can reach by path, or
through one whose root is checked; and no mount on the way is crossed.
Source: fsopen(2), proc(5), openat2(2); libpathrs: procfs.
"""

from __future__ import annotations

import errno
import os

from hookrun.runtime.linux import filesystems, mounts, paths

ROOT_INODE = 1
"""The root of a procfs, and only it, has this inode number (include/linux/proc_ns.h)."""

_INSIDE = paths.RESOLVE_BENEATH | paths.RESOLVE_NO_XDEV | paths.RESOLVE_NO_MAGICLINKS


class Procfs:
    """A verified procfs, held by its root."""

    __slots__ = ("_root",)

    def __init__(self, root: int) -> None:
        """Takes over the descriptor of a procfs's root. Raises OSError where it is anything else."""
        if not is_root(root):
            os.close(root)
            raise OSError(errno.EXDEV, "not the root of a procfs", "/proc")
        self._root = root

    def open(self, path: str, flags: int) -> int:
        """Open a file by its path below /proc; symlinks may lead nowhere else. Raises OSError."""
        return paths.openat2(self._root, path, flags, _INSIDE)

    def close(self) -> None:
        os.close(self._root)


def is_root(descriptor: int) -> bool:
    """Whether a descriptor is of the root of a procfs. Raises OSError."""
    return filesystems.type_of(descriptor) == filesystems.PROC and os.fstat(descriptor).st_ino == ROOT_INODE


def open_procfs() -> Procfs:
    """A procfs of the caller's pid namespace that no path leads to; /proc itself, checked, where that is not allowed.

    Raises OSError.
    """
    try:
        return Procfs(mounts.new_filesystem("proc", "proc", [], 0))
    except PermissionError:
        # Without rights over the pid namespace, or in a user namespace that sees no whole procfs.
        return Procfs(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def open_self(path: str, flags: int) -> int:
    """Open a file of the calling process, e.g. `attr/exec`. Raises OSError."""
    proc = open_procfs()
    try:
        return proc.open(f"self/{path}", flags)
    finally:
        proc.close()
