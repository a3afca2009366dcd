"""Processes by pid and by pidfd. A pid alone may have been given to another process: the start time tells."""

from __future__ import annotations

import os
import select
import signal

_STATE_FIELD = 0
_START_TIME_FIELD = 19


def stat(pid: int) -> tuple[str, int]:
    """The state letter and the start time (clock ticks since boot) of a process, from /proc/PID/stat (proc(5)).

    Raises OSError (FileNotFoundError, ProcessLookupError) where there is no such process.
    """
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    # The command name stands in parentheses and may hold anything, parentheses included.
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[_STATE_FIELD].decode(), int(fields[_START_TIME_FIELD])


def is_alive(pid: int, start_time: int) -> bool:
    """Whether the process is the one that started at `start_time` and has not ended (a zombie has)."""
    try:
        state, started = stat(pid)
    except OSError:
        return False
    return started == start_time and state not in "ZX"


def open_pidfd(pid: int) -> int:
    """pidfd_open(2). Raises OSError (ESRCH where there is no such process)."""
    return os.pidfd_open(pid)


def send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2). Raises OSError."""
    signal.pidfd_send_signal(pidfd, number)


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Whether the process behind a pidfd ended within the time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def open_if_alive(pid: int, start_time: int) -> int | None:
    """A pidfd of the process that started at `start_time`; None where that one has ended."""
    try:
        pidfd = open_pidfd(pid)
    except OSError:
        return None
    # Checked after opening: from here on the pidfd can't come to mean another process.
    if is_alive(pid, start_time):
        return pidfd
    os.close(pidfd)
    return None
