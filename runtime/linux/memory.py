"""Keeping a waiting process small: pages of programs and libraries can be had from their files again."""

from __future__ import annotations

from hookrun.runtime.linux.files import read_bytes
from hookrun.runtime.linux.syscalls import NR, call

_MADV_DONTNEED = 4
_UNCHANGED = (b"r-xp", b"r--p")
_WRITABLE = b"rw-p"


def unchanged_mappings() -> list[tuple[int, int]]:
    """Address and length of this process's mappings of files that nothing was written to (/proc/self/maps).

    A read-only mapping right before a writable one of the same file is what the loader has relocated (RELRO): those
    pages can't be had from the file.
    """
    lines = [line.split(maxsplit=5) for line in read_bytes("/proc/self/maps").splitlines()]
    found = []
    for fields, following in zip(lines, [*lines[1:], []], strict=True):
        if len(fields) < 6 or fields[1] not in _UNCHANGED or not fields[5].startswith(b"/"):
            continue
        if len(following) == 6 and following[1] == _WRITABLE and following[5] == fields[5]:
            continue
        start, _, end = fields[0].partition(b"-")
        found.append((int(start, 16), int(end, 16) - int(start, 16)))
    return found


def let_go(mappings: list[tuple[int, int]]) -> None:
    """Drop the pages of these mappings (madvise(2)); what is touched again is read from the page cache."""
    for start, length in mappings:
        try:
            call(NR.madvise, start, length, _MADV_DONTNEED)
        except OSError:  # a locked mapping, or one that is gone
            continue
