"""What v1 and v2 statistics share."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.linux.cpus import numbers_of

NANOSECONDS = 1_000_000_000
_HUGEPAGES = "/sys/kernel/mm/hugepages"


def compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Without its zero and empty fields, as Go's `omitempty` leaves them out."""
    return {name: value for name, value in entry.items() if value}


def memory_entry(limit: int = 0, usage: int = 0, peak: int = 0, failures: int = 0) -> dict[str, int]:
    """A memory counter in bytes, and how often its limit was met."""
    return {"limit": limit, **compact({"usage": usage, "max": peak}), "failcnt": failures}


def number_or(default: int, path: str, name: str) -> int:
    """The number in a cgroup file, `default` where the kernel has no such file or the container no such cgroup."""
    try:
        return files.read_number(path, name)
    except files.FileError as error:
        if error.missing or not path:
            return default
        raise


def cpuset_numbers(path: str, name: str) -> list[int]:
    """The numbers that a cpuset list such as `0-2,7` stands for."""
    try:
        text = files.read(path, name)
    except files.FileError as error:
        if error.missing or not path:
            return []
        raise
    return sorted(numbers_of(text))


def hugepage_sizes() -> list[str]:
    """The host's sizes of huge pages as the cgroup files spell them: `2MB`."""
    try:
        names = os.listdir(_HUGEPAGES)
    except FileNotFoundError:
        return []
    kilobytes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return [_size(number) for number in kilobytes]


def _size(kilobytes: int) -> str:
    for shift, unit in ((20, "GB"), (10, "MB")):
        if kilobytes >= 1 << shift:
            return f"{kilobytes >> shift}{unit}"
    return f"{kilobytes}KB"
