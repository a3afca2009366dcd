"""/dev beyond its nodes: the symlinks, ptmx, the console, and a /dev/null that can be trusted.

Source: config-linux.md "Default Devices", "/dev symlinks"; runc: rootfs_linux.go, console_linux.go.
"""

from __future__ import annotations

import errno
import os
import stat

from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import filesystems, mounts, paths

_LINKS = (
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
)
_NULL = os.makedev(1, 3)


def make_links(root: int) -> None:
    """The symlinks of /dev; what is there stays. The caller's /proc is still the host's. Raises OSError."""
    for target, path in _LINKS:
        paths.make_symlink(root, path, target)
    if os.path.exists("/proc/kcore"):
        paths.make_symlink(root, "dev/core", "/proc/kcore")


def link_ptmx(root: int) -> None:
    """Make /dev/ptmx lead to the container's own devpts, whatever was there. Raises OSError."""
    parent, name = paths.open_parent(root, "dev/ptmx")
    try:
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        os.symlink("pts/ptmx", name, dir_fd=parent)
    finally:
        os.close(parent)


def open_null(root: int, flags: int) -> int:
    """The container's /dev/null, which has to be one (CVE-2025-31133). Raises Failure, OSError."""
    null = paths.open_inside(root, "dev/null", flags)
    if not is_device(null, _NULL):
        os.close(null)
        raise Failure("container's /dev/null is invalid")
    return null


def reopen_null(root: int) -> None:
    """Have those of our stdin, stdout and stderr that are the host's /dev/null be the container's. Raises Failure."""
    try:
        null = open_null(root, os.O_RDWR)
    except (OSError, Failure) as error:
        text = error.text if isinstance(error, Failure) else f"open /dev/null: {reason(error)}"
        raise Failure(f"error reopening /dev/null inside container: {text}") from None
    for descriptor in range(3):
        if is_device(descriptor, _NULL):
            os.dup2(null, descriptor)
    os.close(null)


def is_device(descriptor: int, number: int) -> bool:
    """Whether a descriptor is of the character device of this number. Raises OSError."""
    found = os.fstat(descriptor)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == number


def mount_console(root: int, slave: int) -> None:
    """Show the pty slave at /dev/console; the slave is a descriptor from `terminal.allocate`. Raises Failure."""
    with failing("create /dev/console mount target"):
        if filesystems.type_of(slave) != filesystems.DEVPTS:
            raise OSError(errno.EINVAL, "not a pseudoterminal")
        target = _console(root)
        tree = mounts.copy_tree(slave)
        try:
            mounts.attach(tree, target)
        finally:
            os.close(tree)
            os.close(target)


def _console(root: int) -> int:
    """What is at /dev/console, never the end of a symlink there; an empty file is made where nothing is."""
    dev, name = paths.open_parent(root, "dev/console")
    try:
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dev))
        except FileExistsError:
            pass
        return paths.openat2(dev, name, os.O_PATH, paths.RESOLVE_BENEATH | paths.RESOLVE_NO_SYMLINKS)
    finally:
        os.close(dev)
