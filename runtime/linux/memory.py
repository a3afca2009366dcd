"""Keeping a waiting process small: what files still hold can be had from them again."""

from __future__ import annotations

import contextlib
import os

from hookrun.runtime.linux.files import read_bytes
from hookrun.runtime.linux.syscalls import NR, call, drop_copies

CALLS = ("madvise", "munmap", "pread64")
"""What `Spare.give_back` asks of the kernel."""

_MADV_DONTNEED = 4
_PROT_READ = 1
_MAP_PRIVATE = 2
_UNCHANGED = (b"r-xp", b"r--p")
_WRITABLE = b"rw-p"


class Spare:
    """Memory of this process, and of its children, that is the same in the files that it was mapped from.

    Pages of programs and libraries are. So are many that were copied to be written to: a count of references went up
    and down again. Found before the process enters a container, where it finds neither its maps nor the files.
    """

    __slots__ = ("_copied", "_pagemap", "_unchanged")

    def __init__(self) -> None:
        """Read /proc/self/maps (proc_pid_maps(5)). Raises OSError.

        A read-only mapping right before a writable one of the same file is what the loader has relocated (RELRO):
        the file does not have those pages.
        """
        lines = [line.split(maxsplit=5) for line in read_bytes("/proc/self/maps").splitlines()]
        self._unchanged: list[tuple[int, int]] = []
        self._copied: list[tuple[int, int, int]] = []
        self._pagemap = -1
        for fields, following in zip(lines, [*lines[1:], []], strict=True):
            if len(fields) < 6 or not fields[5].startswith(b"/"):
                continue
            if fields[1] == _WRITABLE:
                self._note_copied(fields)
            elif fields[1] in _UNCHANGED and not (following[1:2] == [_WRITABLE] and following[5:] == fields[5:]):
                self._unchanged.append(_extent(fields[0]))

    def _note_copied(self, fields: list[bytes]) -> None:
        """Map once more, for reading, the very file that is mapped (proc_pid_map_files(5)): only a host's root may.

        No descriptor of it stays open: root of a container that looks into this process could open it for writing.
        """
        address, length = _extent(fields[0])
        try:
            file = os.open(b"/proc/self/map_files/" + fields[0], os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            view = call(NR.mmap, 0, length, _PROT_READ, _MAP_PRIVATE, file, int(fields[2], 16))
        except OSError:
            return
        finally:
            os.close(file)
        self._copied.append((address, length, view))

    def find_pages(self) -> None:
        """Called in the process that is to give back: it looks at its own pages (proc_pid_pagemap(5))."""
        if self._copied:
            with contextlib.suppress(OSError):
                self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What has to stay open from `find_pages` to `give_back`."""
        return () if self._pagemap < 0 else (self._pagemap,)

    def give_back(self) -> None:
        """Drop the pages (madvise(2)); what is touched again is read from the page cache."""
        for address, length in self._unchanged:
            with contextlib.suppress(OSError):  # a locked mapping, or one that is gone
                call(NR.madvise, address, length, _MADV_DONTNEED)
        for address, length, view in self._copied:
            if self._pagemap >= 0:
                drop_copies(self._pagemap, view, address, length)
            call(NR.munmap, view, length)
        for descriptor in self.descriptors:
            os.close(descriptor)
        self._unchanged, self._copied, self._pagemap = [], [], -1


def _extent(text: bytes) -> tuple[int, int]:
    """Address and length of START-END."""
    start, _, end = text.partition(b"-")
    return int(start, 16), int(end, 16) - int(start, 16)
