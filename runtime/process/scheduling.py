"""When and where a process runs: scheduler, I/O priority and CPU affinity (config.md "Scheduler", "ioPriority",
"execCPUAffinity"; sched_setattr(2), ioprio_set(2), sched_setaffinity(2))."""

from __future__ import annotations

import os

from hookrun.runtime.documents import Linux, Process, Scheduler
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes
from hookrun.runtime.linux.cpus import parse_cpus
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.spec.scheduling import FLAGS, IO_CLASSES, POLICIES

_SCHED_ATTR_SIZE = 56


def apply(process: Process, *, is_pinned: bool) -> None:
    """Set scheduler and I/O priority of the calling process; `is_pinned`: its cgroup has some CPUs only.

    Raises Failure.
    """
    scheduler = process.get("scheduler")
    if scheduler:
        try:
            call(NR.sched_setattr, 0, _packed(scheduler), 0)
        except OSError as error:
            if isinstance(error, PermissionError) and is_pinned:
                raise Failure("process scheduler can't be used together with AllowedCPUs") from None
            raise Failure(f"error setting scheduler: {reason(error)}") from None
    priority = process.get("ioPriority")
    if priority:
        with failing("failed to set io priority"):
            attributes.set_io_priority(IO_CLASSES[priority["class"]], priority.get("priority") or 0)


def _packed(scheduler: Scheduler) -> bytes:
    """struct sched_attr."""
    flags = 0
    for flag in scheduler.get("flags") or ():
        flags |= FLAGS[flag]
    parts = (
        (_SCHED_ATTR_SIZE, 4),
        (POLICIES[scheduler["policy"]], 4),
        (flags, 8),
        ((scheduler.get("nice") or 0) & 0xFFFFFFFF, 4),
        ((scheduler.get("priority") or 0) & 0xFFFFFFFF, 4),
        (scheduler.get("runtime") or 0, 8),
        (scheduler.get("deadline") or 0, 8),
        (scheduler.get("period") or 0, 8),
    )
    return b"".join(value.to_bytes(size, "little") for value, size in parts).ljust(_SCHED_ATTR_SIZE, b"\0")


def has_cpuset(linux: Linux) -> bool:
    """Whether the container's cgroup has some CPUs only."""
    return bool(((linux.get("resources") or {}).get("cpu") or {}).get("cpus"))


def affinity_mask() -> str:
    """The calling process's CPUs, one bit for each, in hexadecimal."""
    return hex(sum(1 << cpu for cpu in os.sched_getaffinity(0)))


def set_affinity(cpus: str) -> None:
    """Run the calling process on these CPUs alone. Raises Failure."""
    with failing(f"error setting CPU affinity to {cpus}"):
        os.sched_setaffinity(0, parse_cpus(cpus, "execCPUAffinity"))
