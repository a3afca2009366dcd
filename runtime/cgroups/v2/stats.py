"""The numbers of a container's v2 cgroup, as runc's `events --stats` prints them (runc: cgroups/fs2)."""

from __future__ import annotations

import errno
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.stats import compact, hugepage_sizes, memory_entry, number_or

_NANOSECONDS_PER_MICROSECOND = 1000

# io.stat's keys -> field and operation of the output.
_IO_FIELDS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def collect(path: str) -> dict[str, Any]:
    """The `data` object for the cgroup at this path; a controller that is not enabled counts nothing."""
    return {
        "cpu": _with_pressure(_cpu(path), path, "cpu"),
        "cpuset": _NO_CPUSET,
        "memory": _with_pressure(_memory(path), path, "memory"),
        "pids": _pids(path),
        "blkio": _with_pressure(_io(path), path, "io"),
        "hugetlb": _hugetlb(path),
        "intel_rdt": {},
        "network_interfaces": None,
    }


# runc fills these on v1 only, and prints them all the same.
_NO_CPUSET = {
    "cpu_exclusive": 0,
    "mem_hardwall": 0,
    "mem_exclusive": 0,
    "memory_migrate": 0,
    "memory_spread_page": 0,
    "memory_spread_slab": 0,
    "memory_pressure": 0,
    "sched_load_balance": 0,
    "sched_relax_domain_level": 0,
}


def _pairs(path: str, name: str) -> dict[str, int]:
    try:
        return files.read_pairs(path, name)
    except files.FileError as error:
        if error.missing:
            return {}
        raise


def _with_pressure(entry: dict[str, Any], path: str, controller: str) -> dict[str, Any]:
    """Add the time that was lost waiting for the resource (PSI, Linux 4.20)."""
    try:
        lines = files.read(path, f"{controller}.pressure").splitlines()
    except files.FileError as error:
        if error.missing or error.errno == errno.EOPNOTSUPP:
            return entry
        raise
    pressure = {"some": _NO_PRESSURE, "full": _NO_PRESSURE}
    for line in lines:
        kind, *words = line.split()
        values = dict(word.split("=") for word in words)
        pressure[kind] = {
            **{name: float(values[name]) for name in ("avg10", "avg60", "avg300")},
            "total": int(values["total"]),
        }
    return {**entry, "psi": pressure}


_NO_PRESSURE: dict[str, float] = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}


def _cpu(path: str) -> dict[str, Any]:
    numbers = _pairs(path, "cpu.stat")

    def nanoseconds(name: str) -> int:
        return numbers.get(name, 0) * _NANOSECONDS_PER_MICROSECOND

    return {
        "usage": {
            **compact({"total": nanoseconds("usage_usec")}),
            "kernel": nanoseconds("system_usec"),
            "user": nanoseconds("user_usec"),
        },
        "throttling": compact(
            {
                "periods": numbers.get("nr_periods", 0),
                "throttledPeriods": numbers.get("nr_throttled", 0),
                "throttledTime": nanoseconds("throttled_usec"),
            }
        ),
    }


def _memory(path: str) -> dict[str, Any]:
    raw = _pairs(path, "memory.stat")
    if not raw:
        empty = memory_entry()
        return {"usage": empty, "swap": empty, "kernel": empty, "kernelTCP": empty}
    usage = files.read_number(path, "memory.current")
    limit = files.read_number(path, "memory.max")
    return {
        **compact({"cache": raw.get("file", 0)}),
        "usage": memory_entry(limit, usage, number_or(0, path, "memory.peak")),
        "swap": _swap(path, usage, limit),
        "kernel": memory_entry(),
        "kernelTCP": memory_entry(),
        "raw": dict(sorted(raw.items())),
    }


def _swap(path: str, memory_usage: int, memory_limit: int) -> dict[str, int]:
    """Memory and swap together, as v1 counts; a kernel without swap accounting has memory alone."""
    try:
        usage = files.read_number(path, "memory.swap.current")
    except files.FileError as error:
        if error.missing:
            return memory_entry(memory_limit, memory_usage)
        raise
    limit = files.read_number(path, "memory.swap.max")
    together = limit if limit == files.UNLIMITED else (limit + memory_limit) & files.UNLIMITED
    return memory_entry(together, usage + memory_usage)


def _pids(path: str) -> dict[str, Any]:
    try:
        current = files.read_number(path, "pids.current")
    except files.FileError as error:
        if not error.missing:
            raise
        return compact({"current": len(files.read(path, "cgroup.procs").split())})
    limit = files.read_number(path, "pids.max")
    return compact({"current": current, "limit": 0 if limit == files.UNLIMITED else limit})


def _io(path: str) -> dict[str, Any]:
    try:
        lines = files.read(path, "io.stat").splitlines()
    except files.FileError as error:
        if error.missing:
            return {}
        raise
    found: dict[str, Any] = {}
    for line in lines:
        device, *words = line.split()
        major, separator, minor = device.partition(":")
        for word in words if separator else ():
            key, _, value = word.partition("=")
            if key in _IO_FIELDS:
                field, operation = _IO_FIELDS[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                found.setdefault(field, []).append(compact(entry))
    return found


def _hugetlb(path: str) -> dict[str, Any]:
    found = {}
    for size in hugepage_sizes():
        usage = number_or(-1, path, f"hugetlb.{size}.rsvd.current")
        if usage < 0:
            usage = number_or(-1, path, f"hugetlb.{size}.current")
        if usage < 0:
            return {}
        failures = files.read_pairs(path, f"hugetlb.{size}.events").get("max", 0)
        found[size] = {**compact({"usage": usage}), "failcnt": failures}
    return found
