"""How far a reader of the record has come, kept in a file: each call is read once, over restarts and rotations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hookrun.wrapper.admin import files, trace_index

_HEAD = 256  # bytes by which a file is known again: its inode number may be given to another one


@dataclass
class Position:
    """Where reading ended in each of the record's files, by inode: bytes read, and a hash of how the file begins."""

    ends: dict[str, tuple[int, str]] = field(default_factory=dict)

    def new_calls(self, directory: Path) -> Iterator[dict[str, Any]]:
        """The calls recorded since the last time, the oldest file first; the position moves with them.

        A line that is not whole yet, or no record, is left out. Raises Failure where the record can't be read.
        """
        ends: dict[str, tuple[int, str]] = {}
        for path in trace_index.record_files(directory):
            with path.open("rb") as file:
                inode = str(path.stat().st_ino)
                at, head = self.ends.get(inode, (0, ""))
                if head != _hash(file.read(min(_HEAD, at))):
                    at = 0
                file.seek(at)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    at += len(line)
                    try:
                        call = trace_index.parsed(line)
                    except ValueError:
                        continue
                    if call is not None:
                        yield call
                file.seek(0)
                ends[inode] = at, _hash(file.read(min(_HEAD, at)))
        self.ends = ends


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if data else ""


def read(path: Path) -> dict[str, Any]:
    """What a reader kept beside its position; {} where there is nothing, or nothing that can be read."""
    try:
        value = json.loads(files.read(path) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
