"""Attributes of the calling process that execve keeps: prctl(2), keyrings, personality, scheduling, memory policy."""

from __future__ import annotations

import fcntl

from hookrun.runtime.linux.syscalls import NR, call

_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PDEATHSIG = 1

_KEYCTL_JOIN_SESSION_KEYRING = 1
_KEYCTL_SETPERM = 5
_KEYCTL_DESCRIBE = 6
_LONGEST_DESCRIPTION = 4096 + 64  # KEY_MAX_DESC_SIZE, and what keyctl(2) writes before it
_KEY_SPEC_SESSION_KEYRING = -3
_KEY_POSSESSOR_ALL_USER_SEARCH = 0x80000

_MAX_CPUS = 64 * 1024  # more than any kernel has: it takes what it knows
_TIOCSCTTY = 0x540E


def set_dumpable(dumpable: bool) -> None:
    """While it is off, no other process of the same user may ptrace this one or open its /proc/PID/fd."""
    call(NR.prctl, _PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def set_no_new_privileges() -> None:
    call(NR.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_keep_capabilities(keep: bool) -> None:
    """Whether setresuid away from 0 keeps the permitted capabilities."""
    call(NR.prctl, _PR_SET_KEEPCAPS, int(keep), 0, 0, 0)


def set_child_subreaper() -> None:
    call(NR.prctl, _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_parent_death_signal(number: int) -> None:
    call(NR.prctl, _PR_SET_PDEATHSIG, number, 0, 0, 0)


def join_session_keyring(name: str) -> None:
    """A session keyring of the container's own, searchable by its user (keyctl(2); runc: keys.JoinSessionKeyring)."""
    keyring = call(NR.keyctl, _KEYCTL_JOIN_SESSION_KEYRING, name.encode() + b"\0", 0, 0, 0)
    description = bytearray(_LONGEST_DESCRIPTION)  # one that has no room is not given at all
    length = call(NR.keyctl, _KEYCTL_DESCRIBE, keyring, description, len(description), 0)
    permissions = int(bytes(description[:length]).split(b";")[3], 16)
    call(NR.keyctl, _KEYCTL_SETPERM, keyring, permissions | _KEY_POSSESSOR_ALL_USER_SEARCH, 0, 0)


def set_personality(domain: int) -> None:
    """personality(2)."""
    call(NR.personality, domain)


def set_io_priority(io_class: int, level: int) -> None:
    """ioprio_set(2) of the calling process."""
    process = 1
    call(NR.ioprio_set, process, 0, io_class << 13 | level)


def reset_cpu_affinity() -> None:
    """Let the calling process run on all CPUs of its cgroup, now and later (sched_setaffinity(2))."""
    every = b"\xff" * (_MAX_CPUS // 8)
    call(NR.sched_setaffinity, 0, len(every), every)


def set_memory_policy(mode: int, nodes: set[int]) -> None:
    """set_mempolicy(2). Raises OSError."""
    width = (max(nodes, default=0) // 64 + 1) * 8
    mask = sum(1 << node for node in nodes).to_bytes(width, "little")
    call(NR.set_mempolicy, mode, mask if nodes else None, width * 8 + 1 if nodes else 0)


def close_from(first: int, *kept: int) -> None:
    """Close every descriptor from this number on but those that are kept (close_range(2))."""
    for descriptor in sorted(kept):
        if descriptor > first:
            call(NR.close_range, first, descriptor - 1, 0)
        first = descriptor + 1
    call(NR.close_range, first, 0xFFFFFFFF, 0)


def set_controlling_terminal(descriptor: int) -> None:
    """Make the terminal the one of this session (ioctl_tty(2))."""
    fcntl.ioctl(descriptor, _TIOCSCTTY, 0)
