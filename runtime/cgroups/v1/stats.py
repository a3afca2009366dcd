"""The numbers of a container's v1 cgroups, as runc's `events --stats` prints them (runc: types/events.go)."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.stats import (
    NANOSECONDS,
    compact,
    cpuset_numbers,
    hugepage_sizes,
    memory_entry,
    number_or,
)

_TICK = NANOSECONDS // 100

_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
)

# Field of the output -> file, for each scheduler that may be there; the first whose first file says something counts.
_BFQ = {
    "sectorsRecursive": "blkio.bfq.sectors_recursive",
    "ioServiceTimeRecursive": "blkio.bfq.io_service_time_recursive",
    "ioWaitTimeRecursive": "blkio.bfq.io_wait_time_recursive",
    "ioMergedRecursive": "blkio.bfq.io_merged_recursive",
    "ioQueueRecursive": "blkio.bfq.io_queued_recursive",
    "ioTimeRecursive": "blkio.bfq.time_recursive",
    "ioServicedRecursive": "blkio.bfq.io_serviced_recursive",
    "ioServiceBytesRecursive": "blkio.bfq.io_service_bytes_recursive",
}
_BLOCK_FILES: tuple[dict[str, str], ...] = (
    _BFQ,
    {name: _BFQ[name] for name in ("ioServicedRecursive", "ioServiceBytesRecursive")},
    {name: file.replace(".bfq", "") for name, file in _BFQ.items()},
    {
        "ioServicedRecursive": "blkio.throttle.io_serviced_recursive",
        "ioServiceBytesRecursive": "blkio.throttle.io_service_bytes_recursive",
    },
    {
        "ioServicedRecursive": "blkio.throttle.io_serviced",
        "ioServiceBytesRecursive": "blkio.throttle.io_service_bytes",
    },
)


def collect(paths: dict[str, str]) -> dict[str, Any]:
    """The `data` object for the cgroups at these paths; a controller without a cgroup counts nothing."""
    return {
        "cpu": {
            "usage": _cpu_usage(paths.get("cpuacct", "")),
            "throttling": _throttling(paths.get("cpu", "")),
        },
        "cpuset": _cpuset(paths.get("cpuset", "")),
        "memory": _memory(paths.get("memory", "")),
        "pids": _pids(paths.get("pids", "")),
        "blkio": _block(paths.get("blkio", "")),
        "hugetlb": _hugetlb(paths.get("hugetlb", "")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _there(path: str) -> bool:
    return bool(path) and os.path.isdir(path)


def _cpu_usage(path: str) -> dict[str, Any]:
    if not _there(path):
        return {"kernel": 0, "user": 0}
    split = files.read_pairs(path, "cpuacct.stat")
    kernel, user = _usage_by_mode(path)
    usage = {
        "total": files.read_number(path, "cpuacct.usage"),
        "percpu": [int(word) for word in files.read(path, "cpuacct.usage_percpu").split()],
        "percpu_kernel": kernel,
        "percpu_user": user,
    }
    return {**compact(usage), "kernel": split["system"] * _TICK, "user": split["user"] * _TICK}


def _usage_by_mode(path: str) -> tuple[list[int], list[int]]:
    """Nanoseconds of each CPU in the kernel and in user mode; the lines are `cpu user system`."""
    try:
        lines = files.read(path, "cpuacct.usage_all").splitlines()[1:]
    except files.FileError as error:
        if error.missing:
            return [], []
        raise
    columns = [line.split() for line in lines]
    return [int(words[2]) for words in columns], [int(words[1]) for words in columns]


def _throttling(path: str) -> dict[str, Any]:
    try:
        numbers = files.read_pairs(path, "cpu.stat") if path else {}
    except files.FileError as error:
        if not error.missing:
            raise
        numbers = {}
    return compact(
        {
            "periods": numbers.get("nr_periods", 0),
            "throttledPeriods": numbers.get("nr_throttled", 0),
            "throttledTime": numbers.get("throttled_time", 0),
        }
    )


def _cpuset(path: str) -> dict[str, Any]:
    flags = {name: number_or(0, path, f"cpuset.{name}") for name in _CPUSET_FLAGS}
    try:
        level = int(files.read(path, "cpuset.sched_relax_domain_level")) if path else 0
    except files.FileError:
        level = 0
    return {
        **compact({"cpus": cpuset_numbers(path, "cpuset.cpus")}),
        "cpu_exclusive": flags.pop("cpu_exclusive"),
        **compact({"mems": cpuset_numbers(path, "cpuset.mems")}),
        **flags,
        "sched_relax_domain_level": level,
    }


def _memory(path: str) -> dict[str, Any]:
    if not _there(path):
        empty = memory_entry()
        return {"usage": empty, "swap": empty, "kernel": empty, "kernelTCP": empty}
    raw = files.read_pairs(path, "memory.stat")
    return {
        **compact({"cache": raw.get("cache", 0)}),
        "usage": _memory_entry(path, "memory"),
        "swap": _memory_entry(path, "memory.memsw"),
        "kernel": _memory_entry(path, "memory.kmem"),
        "kernelTCP": _memory_entry(path, "memory.kmem.tcp"),
        **compact({"raw": dict(sorted(raw.items()))}),
    }


def _memory_entry(path: str, prefix: str) -> dict[str, int]:
    try:
        usage = files.read_number(path, f"{prefix}.usage_in_bytes")
    except files.FileError as error:
        # Swap and kernel memory are counted by some kernels only.
        if prefix != "memory" and error.missing:
            return memory_entry()
        raise
    return memory_entry(
        limit=number_or(0, path, f"{prefix}.limit_in_bytes"),
        usage=usage,
        peak=files.read_number(path, f"{prefix}.max_usage_in_bytes"),
        failures=files.read_number(path, f"{prefix}.failcnt"),
    )


def _pids(path: str) -> dict[str, Any]:
    if not _there(path):
        return {}
    limit = files.read_number(path, "pids.max")
    current = files.read_number(path, "pids.current")
    return compact({"current": current, "limit": 0 if limit == files.UNLIMITED else limit})


def _block(path: str) -> dict[str, Any]:
    if not _there(path):
        return {}
    found: dict[str, Any] = {}
    for names in _BLOCK_FILES:
        for position, (field, name) in enumerate(names.items()):
            entries = _block_entries(path, name)
            if entries is None:
                if position == 0:
                    break
                return compact(found)
            found[field] = entries
        else:
            return compact(found)
    return compact(found)


def _block_entries(path: str, name: str) -> list[dict[str, Any]] | None:
    """The lines `8:0 Read 4096` of a file; None where there is no such file or nothing in it."""
    try:
        lines = files.read(path, name).splitlines()
    except files.FileError as error:
        if error.missing:
            return None
        raise
    entries = []
    for line in lines:
        words = line.replace(":", " ").split()
        if words[0] == "Total":
            continue
        major, minor, *operation, value = words
        entries.append(
            compact({"major": int(major), "minor": int(minor), "op": "".join(operation), "value": int(value)})
        )
    return entries or None


def _hugetlb(path: str) -> dict[str, Any]:
    if not _there(path):
        return {}
    return {size: _hugetlb_entry(path, f"hugetlb.{size}") for size in hugepage_sizes()}


def _hugetlb_entry(path: str, prefix: str) -> dict[str, int]:
    # Reservations are what a limit acts on, where the kernel counts them.
    if os.path.exists(f"{path}/{prefix}.rsvd.usage_in_bytes"):
        prefix += ".rsvd"
    entry = compact(
        {
            "usage": files.read_number(path, f"{prefix}.usage_in_bytes"),
            "max": files.read_number(path, f"{prefix}.max_usage_in_bytes"),
        }
    )
    return {**entry, "failcnt": files.read_number(path, f"{prefix}.failcnt")}
