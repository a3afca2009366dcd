"""The room that the record takes: what is old goes, and the oldest goes while all together is too large."""

from __future__ import annotations

import os
import time

from hookrun.wrapper import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


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
    for place, start in ((directory, "record-"), (f"{directory}/{record.CONFIGS}", "")):
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
