"""What a process object may say (config.md "process"; runc: utils_linux.go validateProcessSpec, configs/validate)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hookrun.runtime.documents import IdMapping, Linux, Process
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import lsm
from hookrun.runtime.spec import scheduling

_HIGHEST_ID = 0x7FFFFFFF

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}


def validate(found: Any) -> Process:
    """The process, of the form that `shape` has; one that runc refuses raises Failure, in its words."""
    process: Process | None = found
    if process is None:
        raise Failure("process property must not be empty")
    cwd = process.get("cwd")
    if not cwd:
        raise Failure("Cwd property must not be empty")
    if not cwd.startswith("/"):
        raise Failure("Cwd must be an absolute path")
    if not process.get("args"):
        raise Failure("args must not be empty")
    check_ids(process.get("user") or {})
    if process.keys() & {"scheduler", "ioPriority", "execCPUAffinity"}:
        scheduling.check(process)
    if process.get("selinuxLabel") and not lsm.selinux_is_enabled():
        raise Failure("selinux label is specified in config, but selinux is disabled or not supported")
    seen = set()
    for limit in process.get("rlimits") or ():
        kind = limit.get("type") or ""
        if kind not in RLIMITS:
            raise Failure(f"wrong rlimit value: {kind}")
        if kind in seen:
            raise Failure(f"process.rlimits: duplicate {kind}")
        seen.add(kind)
    return process


def check_ids(user: Mapping[str, Any]) -> None:
    """Refuse ids that runc refuses (moby/sys/user): above them, -1 tells setresuid(2) to change nothing.

    Raises Failure.
    """
    for number in (user.get("uid") or 0, user.get("gid") or 0, *(user.get("additionalGids") or ())):
        if not 0 <= number <= _HIGHEST_ID:
            raise no_user(f"uids and gids must be in range 0-{_HIGHEST_ID}")


def check_reach(process: Process, platform: Linux) -> None:
    """Refuse a user whom the container's user namespace does not have, and groups that its maker can't set.

    `platform` is the container's `linux` object. Source: runc's setupUser. Raises Failure.
    """
    user = process.get("user") or {}
    has_user_namespace = any(entry.get("type") == "user" for entry in platform.get("namespaces") or ())
    for kind, number, mappings in (
        ("uid", user.get("uid"), platform.get("uidMappings")),
        ("gid", user.get("gid"), platform.get("gidMappings")),
    ):
        if has_user_namespace and mappings and not any(_is_mapped(number or 0, entry) for entry in mappings):
            raise no_user(f"cannot set {kind} to unmapped user in user namespace")
    if user.get("additionalGids") and os.geteuid() != 0:
        raise no_user("cannot set any additional groups in a rootless container")


def _is_mapped(number: int, entry: IdMapping) -> bool:
    first: int = entry.get("containerID") or 0
    size: int = entry.get("size") or 0
    return first <= number < first + size


def no_user(why: str) -> Failure:
    """The error of a process whose user, as the config has it, can't be."""
    return Failure(f"unable to start container process: unable to setup user: {why}")
