"""Whole files: read in one piece, and written so that they are there whole or not at all; and directories for them."""

from __future__ import annotations

import errno
import os

_CHUNK = 16384  # of more, malloc would give the memory back to the kernel after each read


def read_bytes(path: str) -> bytes:
    """A file's content, without the buffered layers that `open` would import and build. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size + 1) if size else b""
        if 0 < len(data) <= size:
            return data
        # It has grown since, or its size can't be known before, as in /proc.
        while part := os.read(descriptor, _CHUNK):
            data += part
        return data
    finally:
        os.close(descriptor)


def make_directories(path: str, mode: int) -> None:
    """A directory with those above it; one that is there already is no fault. Raises OSError.

    os.makedirs calls itself for each part of a path, and a path has room for more parts than Python's stack.
    """
    missing = []
    above = path.rstrip("/") or "/"
    while above and not os.path.exists(above):
        missing.append(above)
        above = os.path.dirname(above)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, mode if directory == missing[0] else 0o777)
        except FileExistsError:
            pass  # somebody else made it meanwhile
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def replace(path: str, data: bytes) -> None:
    """Write a file, 0600, in place of what is there: a crash leaves the old or the new one.

    Raises OSError; the old file is still there then, and nothing of the new one.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
