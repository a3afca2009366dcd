"""What a config may say of scheduler, I/O priority and CPU affinity (config.md "Scheduler", "ioPriority",
"execCPUAffinity")."""

from __future__ import annotations

from hookrun.runtime.documents import Process, Scheduler
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux.cpus import parse_cpus

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


def check(process: Process) -> None:
    """Refuse values that runc refuses, in its words (configs/validate). Raises Failure."""
    scheduler = process.get("scheduler")
    if scheduler:
        _check_scheduler(scheduler)
    priority = process.get("ioPriority")
    if priority is not None:
        if priority.get("class") not in IO_CLASSES:
            raise Failure(f'invalid ioPriority.Class: "{priority.get("class") or ""}"')
        if not 0 <= (priority.get("priority") or 0) <= 7:
            raise Failure(f"invalid ioPriority.Priority: {priority['priority']}")
    for when in ("initial", "final"):
        cpus = (process.get("execCPUAffinity") or {}).get(when)
        if cpus:
            parse_cpus(cpus, f"execCPUAffinity.{when}")


def _check_scheduler(scheduler: Scheduler) -> None:
    policy = scheduler.get("policy") or ""
    if not policy:
        raise Failure("scheduler policy is required")
    if policy not in POLICIES:
        raise Failure(f"invalid scheduler policy: {policy}")
    for flag in scheduler.get("flags") or ():
        if flag not in FLAGS:
            raise Failure(f"invalid scheduler flag: {flag}")
    nice = scheduler.get("nice") or 0
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        raise Failure(f"invalid scheduler.nice: {nice}")
    if (scheduler.get("priority") or 0) and policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise Failure("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    if policy != "SCHED_DEADLINE":
        for field in ("runtime", "deadline", "period"):
            if scheduler.get(field):
                raise Failure(f"scheduler {field} can only be specified for SchedDeadline policy")
