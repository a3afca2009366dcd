"""How far a reader of the record has come, kept in a file: each call is read once, over restarts and rotations."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.record.line import Line

_HEAD = 256  # bytes of its first line, by which a file is known again: its inode number may be given to another one


@dataclass
class Position:
    """Where reading ended in each of the record's files, by inode: bytes read, and a hash of how the file begins."""

    ends: dict[str, tuple[int, str]] = field(default_factory=dict)

    def new_calls(self, directory: Path) -> Iterator[Line]:
        """The calls recorded since the last time, the oldest file first; the position is behind the last one.

        A line that is not whole yet, or no record, is left out. Raises Failure where the record can't be read.
        """
        seen = set()
        for path in trace_index.record_files(directory):
            with path.open("rb") as file:
                inode = str(os.fstat(file.fileno()).st_ino)
                seen.add(inode)
                yield from self._new_in(file, inode)
        self.ends = {inode: end for inode, end in self.ends.items() if inode in seen}

    def _new_in(self, file: BinaryIO, inode: str) -> Iterator[Line]:
        head = hashlib.sha256(file.readline()[:_HEAD]).hexdigest()
        at, known = self.ends.get(inode, (0, head))
        if known != head:
            at = 0
        file.seek(at)
        for line in file:
            if not line.endswith(b"\n"):
                return
            at += len(line)
            self.ends[inode] = at, head
            try:
                call = trace_index.parsed(line)
            except ValueError:
                continue
            if call is not None:
                yield call


def unpacked(value: Any) -> Position:
    """A position's `ends` as JSON gives them back. Raises TypeError, ValueError or AttributeError for what is none."""
    return Position({inode: (int(end), str(head)) for inode, (end, head) in value.items()})


def read(path: Path) -> dict[str, Any]:
    """What a reader kept beside its position; {} where there is nothing, or nothing that can be read."""
    try:
        value = json.loads(files.read(path) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
