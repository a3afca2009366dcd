"""tmpcopyup: a tmpfs that starts with what the directory below it holds.

Source: runc: rootfs_linux.go doTmpfsCopyUp.
"""

from __future__ import annotations

import os
import stat

_CHUNK = 1 << 20


def copy_directory(source: int, target: int) -> None:
    """Copy what is in one directory into another, with owners and modes; sockets are left out. Raises OSError."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(readable):
            _copy(name, readable, target)
    finally:
        os.close(readable)


def _copy(name: str, source: int, target: int) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFSOCK:
        return
    if kind == stat.S_IFDIR:
        os.mkdir(name, dir_fd=target)
        below = _open_directory(name, source), _open_directory(name, target)
        copy_directory(*below)
        for descriptor in below:
            os.close(descriptor)
    elif kind == stat.S_IFREG:
        _copy_content(name, source, target)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if kind != stat.S_IFLNK:
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)


def _open_directory(name: str, parent: int) -> int:
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _copy_content(name: str, source: int, target: int) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        while os.sendfile(writer, reader, None, _CHUNK):
            pass
    finally:
        os.close(reader)
        os.close(writer)
