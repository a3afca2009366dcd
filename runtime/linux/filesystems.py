"""What a descriptor lies on: fstatfs(2), of which Python's fstatvfs leaves out the type."""

from __future__ import annotations

import sys

from hookrun.runtime.linux.syscalls import NR, call

# include/uapi/linux/magic.h
PROC = 0x9FA0
DEVPTS = 0x1CD1
CGROUP2 = 0x63677270

_WORD = 8
_TYPE = 0
_FLAGS = 10


def _statfs(descriptor: int, field: int) -> int:
    """One word of `struct statfs`, which has twelve of them on 64-bit architectures."""
    buffer = bytearray(16 * _WORD)
    call(NR.fstatfs, descriptor, buffer)
    return int.from_bytes(buffer[field * _WORD : (field + 1) * _WORD], sys.byteorder)


def type_of(descriptor: int) -> int:
    """The magic number of the file system. Raises OSError."""
    return _statfs(descriptor, _TYPE)


def flags_of(descriptor: int) -> int:
    """The ST_ flags of the mount. Raises OSError."""
    return _statfs(descriptor, _FLAGS)
