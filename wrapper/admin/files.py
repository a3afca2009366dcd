"""Changing other programs' configuration without ever leaving half a file, and with a way back."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hookrun.runtime.errors import Failure, reason


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old or the new one. Raises Failure.

    An old one's owner, mode and extended attributes stay; a symbolic link stays one, and what it leads to is written.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="", opener=_for_us_alone) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            status = path.stat()
            os.chown(temporary, status.st_uid, status.st_gid)
            shutil.copystat(path, temporary)
            os.utime(temporary)
        else:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # a read-only file system refuses that too, though there is nothing
            temporary.unlink()
        raise Failure(f"cannot write {path}: {reason(error)}") from None


def _for_us_alone(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def replace_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file of our own, whole or not at all; what was there before it, a crash leaves. Raises Failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", opener=_for_us_alone) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise Failure(f"cannot write {path}: {reason(error)}") from None


@contextmanager
def locked(directory: Path, busy: str = "") -> Iterator[None]:
    """Keep out whoever locks the same directory: wait for him, or give up at once with the words `busy`.

    Raises Failure.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"cannot open {directory}: {reason(error)}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise Failure(busy) from None
        yield
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Take a file away, through a symbolic link, which stays; none is no fault. Raises Failure."""
    try:
        Path(os.path.realpath(path)).unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"cannot remove {path}: {reason(error)}") from None


def back_up(path: Path) -> Path | None:
    """Keep a dated copy beside the file; returns its path, None where there is nothing to keep. Raises Failure."""
    text = read(path)
    if text is None:
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(100):
        copy = path.with_name(f"{path.name}.hookrun-{stamp}" + (f"-{number}" if number else ""))
        if not copy.exists():
            replace(copy, text, path.stat().st_mode & 0o7777)
            return copy
    raise Failure(f"cannot back up {path}: too many copies of this second")


def copies(path: Path) -> Iterator[str]:
    """The texts that `back_up` kept of a file, the latest first. Raises Failure."""
    for copy in sorted(path.parent.glob(f"{path.name}.hookrun-*"), reverse=True):
        yield read(copy) or ""


def read(path: Path) -> str | None:
    """A file's text, its line ends as they are; None if there is no file. Raises Failure."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise Failure(f"cannot read {path}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise Failure(f"cannot read {path}: {reason(error)}") from None
