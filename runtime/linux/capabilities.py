"""Capabilities: their names and numbers, and setting the five sets (capabilities(7))."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from hookrun.runtime.linux.syscalls import NR, call

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4


@dataclass(frozen=True, slots=True)
class CapabilitySets:
    """The five sets, each an int with one bit a capability."""

    bounding: int
    effective: int
    inheritable: int
    permitted: int
    ambient: int


def mask(names: list[str]) -> tuple[int, list[str]]:
    """The bits of the named capabilities, and the names that neither this table nor this kernel knows."""
    bits = 0
    unknown = []
    for name in names:
        number = NUMBERS.get(name)
        if number is None or not _kernel_knows(number):
            unknown.append(name)
        else:
            bits |= 1 << number
    return bits, unknown


_last: list[int] = []


def _kernel_knows(number: int) -> bool:
    if not _last:
        candidate = len(NAMES) - 1
        while candidate and not _is_valid(candidate):
            candidate -= 1
        _last.append(candidate)
    return number <= _last[0]


def _is_valid(number: int) -> bool:
    try:
        call(NR.prctl, _PR_CAPBSET_READ, number, 0, 0, 0)
    except OSError:
        return False
    return True


def drop_bounding(keep: int) -> None:
    """Drop all from the bounding set that is not in `keep`. Raises OSError (EPERM without CAP_SETPCAP)."""
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            if call(NR.prctl, _PR_CAPBSET_READ, number, 0, 0, 0):
                call(NR.prctl, _PR_CAPBSET_DROP, number, 0, 0, 0)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise


def current() -> tuple[int, int, int]:
    """The effective, permitted and inheritable set of this process (capget(2))."""
    data = bytearray(24)
    call(NR.capget, _header(), data)
    words = [int.from_bytes(data[offset : offset + 4], "little") for offset in range(0, 24, 4)]
    return (words[0] | words[3] << 32, words[1] | words[4] << 32, words[2] | words[5] << 32)


def set_process_sets(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2). Raises OSError (EPERM where a set is larger than what the process has)."""
    words = [effective, permitted, inheritable]
    low = b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)
    high = b"".join((word >> 32).to_bytes(4, "little") for word in words)
    call(NR.capset, _header(), low + high)


def raise_ambient(bits: int) -> dict[str, OSError]:
    """Clear the ambient set, then raise `bits` in it; returns the names that could not be raised, and why."""
    call(NR.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    refused = {}
    for number, name in enumerate(NAMES):
        if bits >> number & 1:
            try:
                call(NR.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)
            except OSError as error:
                refused[name] = error
    return refused


def _header() -> bytes:
    return _VERSION_3.to_bytes(4, "little") + bytes(4)
