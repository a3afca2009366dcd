"""The room that the record takes: a full file is moved aside, what is old goes, and the oldest goes beyond the cap."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator

from hookrun.wrapper.record import kept_configs
from hookrun.wrapper.settings import Settings

LOCK = ".lock"


def rotated_name() -> str:
    """What the current file is called once it is moved aside; such names are in the order of time."""
    return f"record-{time.time_ns()}-{os.getpid()}.jsonl"


def rotate(current: str, settings: Settings) -> bool:
    """Move the current file aside, unless somebody else is at it or has done it; whether it was moved by now."""
    directory = settings.record_directory
    lock = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(current).st_size >= settings.record_max_size:
            os.rename(current, f"{directory}/{rotated_name()}")
            make_room(directory, settings.record_max_total, settings.record_max_age)
        return True
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(lock)


def make_room(directory: str, most: int, longest: int) -> tuple[int, int]:
    """Remove rotated files and kept configs that were last used more than `longest` seconds ago, and the oldest beyond
    `most` bytes of all. Returns how many files, and how many bytes, went. Raises OSError."""
    total = files = removed = 0
    now = time.time()
    for used, size, path in sorted(_files(directory), reverse=True):
        total += size
        if total > most or now - used > longest:
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            files += 1
            removed += size
    return files, removed


def _files(directory: str) -> Iterator[tuple[float, int, str]]:
    """When each was last written or used, its size, and its path."""
    for place, start in ((directory, "record-"), (f"{directory}/{kept_configs.DIRECTORY}", "")):
        try:
            entries = list(os.scandir(place))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.name.startswith(start):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # renamed or removed meanwhile
                    continue
                yield status.st_mtime, status.st_size, entry.path
