"""When and where a process runs: scheduler, I/O priority and CPU affinity (config.md "Scheduler", "ioPriority",
"execCPUAffinity"; sched_setattr(2), ioprio_set(2), sched_setaffinity(2))."""

from __future__ import annotations

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import attributes, os
from hookrun.runtime.linux.syscalls import NR, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_SCHED_ATTR_SIZE = 56
_HIGHEST_CPU = 65536


def check(process: dict[str, Any]) -> None:
    """Refuse values that runc refuses, in its words (configs/validate). Raises Failure."""
    scheduler = process.get("scheduler")
    if scheduler:
        _check_scheduler(scheduler)
    priority = process.get("ioPriority")
    if priority:
        if priority.get("class") not in _IO_CLASSES:
            raise Failure(f'invalid ioPriority.Class: "{priority.get("class") or ""}"')
        if not 0 <= (priority.get("priority") or 0) <= 7:
            raise Failure(f"invalid ioPriority.Priority: {priority['priority']}")
    for when in ("initial", "final"):
        cpus = (process.get("execCPUAffinity") or {}).get(when)
        if cpus:
            parse_cpus(cpus, f"execCPUAffinity.{when}")


def _check_scheduler(scheduler: dict[str, Any]) -> None:
    policy = scheduler.get("policy") or ""
    if not policy:
        raise Failure("scheduler policy is required")
    if policy not in _POLICIES:
        raise Failure(f"invalid scheduler policy: {policy}")
    for flag in scheduler.get("flags") or ():
        if flag not in _FLAGS:
            raise Failure(f"invalid scheduler flag: {flag}")
    nice = scheduler.get("nice") or 0
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        raise Failure(f"invalid scheduler.nice: {nice}")
    if (scheduler.get("priority") or 0) and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise Failure("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    if policy != "SCHED_DEADLINE":
        for field in ("runtime", "deadline", "period"):
            if scheduler.get(field, 0):
                raise Failure(f"scheduler {field} can only be specified for SchedDeadline policy")


def apply(process: dict[str, Any], is_pinned: bool) -> None:
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
        try:
            attributes.set_io_priority(_IO_CLASSES[priority["class"]], priority.get("priority") or 0)
        except OSError as error:
            raise Failure(f"failed to set io priority: {reason(error)}") from None


def _packed(scheduler: dict[str, Any]) -> bytes:
    """struct sched_attr."""
    flags = 0
    for flag in scheduler.get("flags") or ():
        flags |= _FLAGS[flag]
    parts = (
        (_SCHED_ATTR_SIZE, 4),
        (_POLICIES[scheduler["policy"]], 4),
        (flags, 8),
        ((scheduler.get("nice") or 0) & 0xFFFFFFFF, 4),
        ((scheduler.get("priority") or 0) & 0xFFFFFFFF, 4),
        (scheduler.get("runtime") or 0, 8),
        (scheduler.get("deadline") or 0, 8),
        (scheduler.get("period") or 0, 8),
    )
    return b"".join(value.to_bytes(size, "little") for value, size in parts).ljust(_SCHED_ATTR_SIZE, b"\0")


def has_cpuset(linux: dict[str, Any]) -> bool:
    """Whether the container's cgroup has some CPUs only."""
    return bool(((linux.get("resources") or {}).get("cpu") or {}).get("cpus"))


def set_affinity(cpus: str) -> None:
    """Run the calling process on these CPUs alone. Raises Failure."""
    try:
        os.sched_setaffinity(0, parse_cpus(cpus, "execCPUAffinity"))
    except OSError as error:
        raise Failure(f"error setting CPU affinity to {cpus}: {reason(error)}") from None


def parse_cpus(text: str, field: str) -> set[int]:
    """A list as `0-3,5` in the form of cpuset(7). Raises Failure."""
    numbers: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, separator, last = part.partition("-")
        bounds = (first, last if separator else first)
        if not all(bound.isascii() and bound.isdigit() and int(bound) <= _HIGHEST_CPU for bound in bounds):
            raise Failure(f"{field}: {part!r} is no CPU number or range of them")
        low, high = map(int, bounds)
        if low > high:
            raise Failure(f"{field}: invalid range: {part}")
        numbers.update(range(low, high + 1))
    if not numbers:
        raise Failure(f"{field}: no members found in set {text!r}")
    return numbers
