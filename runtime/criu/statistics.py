"""CRIU's own statistics of a dump or a restore, for the record (https://criu.org/Statistics).

The file holds two magic numbers, a length and one message, each number in four bytes (criu's image format, "service
images").
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.criu.messages import DecodeError, stats
from hookrun.runtime.linux import files

_HEADER = 12


def of_dump(directory: str) -> dict[str, Any]:
    """Microseconds, pages and bytes of the dump that CRIU did in a work directory; {} where it left no statistics."""
    found = _read(f"{directory}/stats-dump")
    if found is None:
        return {}
    dump = found.dump
    return {
        "freezing_us": dump.freezing_time,
        "frozen_us": dump.frozen_time,
        "memory_dump_us": dump.memdump_time,
        "memory_write_us": dump.memwrite_time,
        "pages_scanned": dump.pages_scanned,
        "pages_in_parent": dump.pages_skipped_parent,
        "pages_lazy": dump.pages_lazy,
        "pages": dump.pages_written + dump.shpages_written,
        "bytes": (dump.pages_written + dump.shpages_written) * os.sysconf("SC_PAGE_SIZE"),
    }


def of_restore(directory: str) -> dict[str, Any]:
    """Microseconds, pages and bytes of a restore."""
    found = _read(f"{directory}/stats-restore")
    if found is None:
        return {}
    restore = found.restore
    return {
        "forking_us": restore.forking_time,
        "restore_us": restore.restore_time,
        "pages_compared": restore.pages_compared,
        "pages_shared": restore.pages_skipped_cow,
        "pages": restore.pages_restored,
        "bytes": restore.pages_restored * os.sysconf("SC_PAGE_SIZE"),
    }


def _read(path: str) -> Any:
    try:
        data = files.read_bytes(path)
        length = int.from_bytes(data[_HEADER - 4 : _HEADER], "little")
        return stats.stats_entry.FromString(data[_HEADER : _HEADER + length])
    except (OSError, DecodeError):
        return None
