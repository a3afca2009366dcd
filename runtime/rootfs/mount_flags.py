"""The config's flags on a copy of an existing mount.

Source: config.md "Linux mount options"; runc: rootfs_linux.go mountToRootfs, case "bind".
"""

from __future__ import annotations

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import filesystems, mounts
from hookrun.runtime.linux.mount_options import (
    ALL_ATIME_FLAGS,
    LOCKABLE_FLAGS,
    change,
    flags_of_statfs,
    names,
)

_ABOUT_THE_CALL = mounts.MS_BIND | mounts.MS_REC | mounts.MS_REMOUNT
_FAILED = "failed to set user-requested vfs flags on bind-mount"


def apply(tree: int, flags: int, cleared: int) -> None:
    """Give a detached copy of a mount these MS_ flags and no others; none at all leave it as its source is.

    In a user namespace the kernel locks some of the source's flags: those stay, and it is an error where the config
    wants them off (`cleared`) or other access times. Not so for read-only: Podman asks for `rw` with every volume, and
    one of a read-only file system stays that, as by runc 1.1. Raises Failure, OSError.
    """
    if not (flags & ~_ABOUT_THE_CALL or cleared):
        return
    try:
        mounts.set_attributes(tree, *change(flags))
    except PermissionError:
        _apply_around_locks(tree, flags, cleared)


def _apply_around_locks(tree: int, flags: int, cleared: int) -> None:
    source = flags_of_statfs(filesystems.flags_of(tree))
    locked = source & LOCKABLE_FLAGS
    refused = locked & cleared & ~mounts.MS_RDONLY
    if refused:
        raise Failure(f"{_FAILED}: cannot clear locked flags {names(refused)}: operation not permitted")
    access_times = flags & ALL_ATIME_FLAGS
    if access_times and access_times != source & ALL_ATIME_FLAGS:
        found = names(source & ALL_ATIME_FLAGS)
        raise Failure(f"{_FAILED}: cannot change locked atime flags {found}: operation not permitted")
    try:
        mounts.set_attributes(tree, *change(flags | locked))
    except OSError as error:
        raise Failure(f"{_FAILED}: remount with locked flags {names(locked)} re-applied: {reason(error)}") from None
