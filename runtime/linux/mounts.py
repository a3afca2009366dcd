"""The kernel's mount API by descriptor: open_tree, fsopen, fsconfig, fsmount, move_mount, mount_setattr.

A mount is made detached, gets its attributes, and only then appears at a descriptor: no path is resolved twice.
Sources: mount_setattr(2), open_tree(2), fsopen(2), move_mount(2), mount(2).
"""

from __future__ import annotations

import errno
import os
import sys

from hookrun.runtime.linux.paths import AT_EMPTY_PATH, encoded
from hookrun.runtime.linux.syscalls import NR, call, check

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

ATTR_RDONLY = 0x01
ATTR_NOSUID = 0x02
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08
ATTR_ATIME = 0x70
ATTR_RELATIME = 0x00
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_IDMAP = 0x100000
ATTR_NOSYMFOLLOW = 0x200000

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG = 0
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MNT_DETACH = 2
_LONGEST_VALUE = 255


def open_tree(path: str, recursive: bool) -> int:
    """A detached copy of the mount at a path (followed as usual), with all below it if `recursive`. Raises OSError."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return check(NR.open_tree, path, _AT_FDCWD, encoded(path), flags)


def copy_tree(descriptor: int, recursive: bool = False) -> int:
    """A detached copy of the mount at a descriptor. Raises OSError."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return call(NR.open_tree, descriptor, b"", flags)


def attach(tree: int, target: int) -> None:
    """Put a detached mount on top of what is open as `target`; `tree` is then the mount's root in its place.

    Raises OSError: ENOTDIR where one is a directory and the other is not, which move_mount(2) calls EINVAL.
    """
    if os.path.isdir(tree) != os.path.isdir(target):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    call(NR.move_mount, tree, b"", target, b"", _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH)


def move_to_root(tree: int) -> None:
    """Move the mount whose root is open as `tree` on top of "/" (mount(8) --move). Raises OSError."""
    call(NR.move_mount, tree, b"", _AT_FDCWD, b"/", _MOVE_MOUNT_F_EMPTY_PATH)


def set_attributes(
    mount: int,
    set_bits: int = 0,
    clear_bits: int = 0,
    *,
    propagation: int = 0,
    recursive: bool = False,
    userns: int = 0,
) -> None:
    """mount_setattr(2) on the mount whose root is open as `mount`. Raises OSError."""
    flags = AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _setattr(mount, b"", flags, (set_bits, clear_bits, propagation, userns))


def change_propagation(mount: int, propagation: int) -> None:
    """Like `set_propagation`, for the mount whose root is open as `mount`. Raises OSError."""
    set_attributes(mount, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))


def set_propagation(path: str, propagation: int) -> None:
    """Change the propagation of the mount at a path; MS_REC means of all below it too.

    `propagation` is MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE. Raises OSError (EINVAL: no mount is there).
    """
    recursive = _AT_RECURSIVE if propagation & MS_REC else 0
    _setattr(_AT_FDCWD, encoded(path), recursive, (0, 0, propagation & ~MS_REC, 0))


def _setattr(directory: int, path: bytes, flags: int, fields: tuple[int, int, int, int]) -> None:
    attributes = b"".join(field.to_bytes(8, sys.byteorder) for field in fields)
    call(NR.mount_setattr, directory, path, flags, attributes, len(attributes))


def new_filesystem(kind: str, source: str, options: list[str], attributes: int) -> int:
    """A detached mount of a new file system: its options as `key=value` or `key`, its mount attributes as ATTR_ bits.

    Raises OSError, whose text has the file system's own words where it gave some.
    """
    context = check(NR.fsopen, kind, encoded(kind), _FSOPEN_CLOEXEC)
    try:
        _configure(context, "source", source)
        for option in options:
            key, has_value, value = option.partition("=")
            if key:  # mount(2) passes others over too
                _configure(context, key, value if has_value else None)
        call(NR.fsconfig, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return call(NR.fsmount, context, _FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}{_complaint(context)}") from None
    finally:
        os.close(context)


def _configure(context: int, key: str, value: str | None) -> None:
    if value is None:
        call(NR.fsconfig, context, _FSCONFIG_SET_FLAG, encoded(key), None, 0)
    else:
        call(NR.fsconfig, context, _FSCONFIG_SET_STRING, encoded(key), encoded(value), 0)


def _complaint(context: int) -> str:
    """What the file system said about a failure (`e tmpfs: Unknown parameter 'x'`), in brackets."""
    try:
        said = os.read(context, 1024)
    except OSError:
        return ""
    return f" ({said[2:].decode(errors='replace').strip()})"


def fits_fsconfig(options: list[str]) -> bool:
    """Whether fsconfig(2) can take these options: it knows no quoting and no value longer than 255 bytes."""
    return all(len(os.fsencode(option)) <= _LONGEST_VALUE and not {'"', "\\"} & set(option) for option in options)


def mount(source: str, target: int, kind: str, flags: int, data: str) -> None:
    """mount(2) on a descriptor, for what fsconfig(2) can't take; /proc must be the host's. Raises OSError."""
    path = f"/proc/self/fd/{target}".encode()
    call(NR.mount, encoded(source), path, encoded(kind), flags, encoded(data))


def detach(path: str) -> None:
    """umount2(2) with MNT_DETACH. Raises OSError."""
    check(NR.umount2, path, encoded(path), _MNT_DETACH)


def pivot_root_here() -> None:
    """pivot_root(".", "."): the working directory becomes "/", with the old root on top of it. Raises OSError."""
    call(NR.pivot_root, b".", b".")
