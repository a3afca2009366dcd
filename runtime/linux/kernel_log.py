"""What the kernel's log says of cgroups that are gone: which processes it killed there for want of memory."""

from __future__ import annotations

import os
import re
import time

from hookrun.runtime.linux.syscalls import NR, call

# SYSLOG_ACTION_*, syslog(2)
_READ_ALL = 3
_SIZE_BUFFER = 10
# Of the kernel's own facility, 0: root of a container may write lines of others to /dev/kmsg.
_OOM = re.compile(
    r"^<[0-7]>(?:\[ *(?P<time>\d+\.\d+)\])?.*?oom-kill:constraint=.*?,task_memcg=(?P<cgroup>.*?),task=", re.MULTILINE
)


def oom_kills(cgroup: str, start_ticks: int) -> int:
    """How often the kernel killed for want of memory in a cgroup and those below it; 0 where its log can't be read.

    `cgroup` is the path in its hierarchy. `start_ticks` is when the first process of interest began, in clock ticks
    since boot (proc_pid_stat(5)): a name may have been another's before. The log is a ring, and of more than ten kills
    in five seconds it names no cgroup (mm/oom_kill.c, oom_kill_process).
    """
    start = start_ticks / os.sysconf("SC_CLK_TCK") - _slept()
    return sum(
        float(found["time"] or start) >= start and f"{found['cgroup']}/".startswith(f"{cgroup}/")
        for found in _OOM.finditer(_text())
    )


def _slept() -> float:
    """For how many seconds the host was suspended: the log's clock stood still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _text() -> str:
    try:
        buffer = bytearray(call(NR.syslog, _SIZE_BUFFER, None, 0))
        length = call(NR.syslog, _READ_ALL, buffer, len(buffer))
    except OSError:  # it takes CAP_SYSLOG
        return ""
    return buffer[:length].decode("utf-8", "replace")
