"""Keeping the record small: `hookctl trace prune`, for a timer to run once a day."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import output
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.record import kept_configs, record, record_space

_DAY = 86400
_FILES_MODE = 0o600


@dataclass
class Limits:
    """Bytes of all files together, and seconds since a file was last written or a config last used."""

    total: int
    age: int


@dataclass
class Pruned:
    """What was done."""

    rotated: bool = False
    removed_files: int = 0
    removed_bytes: int = 0
    compressed: int = 0
    saved_bytes: int = 0


def prune(directory: Path, limits: Limits, rotate: bool) -> Pruned:
    """Rotate a current file older than a day (or any, with `rotate`), remove what is beyond the limits, compress
    configs that a day has not used, and bring the index up to date. Raises Failure.
    """
    done = Pruned()
    if not directory.is_dir():
        return done
    try:
        with _locked(directory):
            done.rotated = _rotate(directory, rotate)
            done.removed_files, done.removed_bytes = record_space.make_room(str(directory), limits.total, limits.age)
            done.compressed, done.saved_bytes = _compress(directory / kept_configs.DIRECTORY)
    except OSError as error:
        raise Failure(f"cannot prune {directory}: {reason(error)}") from None
    trace_index.Index(directory).update()
    return done


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """The lock that writers take to rotate; they go on writing while it is held."""
    lock = os.open(directory / record_space.LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILES_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _rotate(directory: Path, now: bool) -> bool:
    current = directory / record.CURRENT
    if not current.exists() or not current.stat().st_size:
        return False
    with current.open("rb") as file:
        first = next(filter(None, (_parsed_time(line) for line in file)), time.time())
    if not now and time.time() - first < _DAY:
        return False
    current.rename(directory / record_space.rotated_name())
    return True


def _parsed_time(line: bytes) -> float | None:
    try:
        call = trace_index.parsed(line)
    except ValueError:
        return None
    return trace_index.seconds_of(call["time"]) if call else None


def _compress(configs: Path) -> tuple[int, int]:
    """Compress what no call of the last day used; returns how many, and the bytes saved."""
    aged = [path for path in configs.glob("*.json") if time.time() - path.stat().st_mtime > _DAY]
    saved = 0
    with output.progress("compressing configs", len(aged)) as advance:
        for path in aged:
            saved += _compress_one(path)
            advance(1)
    return len(aged), saved


def _compress_one(path: Path) -> int:
    status = path.stat()
    packed = zlib.compress(path.read_bytes())
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILES_MODE)
    with open(descriptor, "wb") as file:
        file.write(packed)
    os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    temporary.rename(path.with_name(path.name + kept_configs.PACKED))
    path.unlink()
    return status.st_size - len(packed)
