"""The module `_kernel` of hookrun-start as a plain python3 has it: libc's `syscall(2)` and libseccomp by `_ctypes`.

`import ctypes` costs 2.4 ms of a cold start; the C module below it is all that these functions need. libseccomp is
loaded by the first one that is called: its functions have the names and the arguments of seccomp.h (libseccomp 2.5).
"""

from __future__ import annotations

import _ctypes
import os
import struct
from typing import Any

from hookrun.runtime.linux.numbers import NR

_LIBSECCOMP = "libseccomp.so.2"
# include/uapi/linux/stat.h: of `struct statx` the attributes, links, uid, mode, inode, both devices and the mount's id.
_STATX = struct.Struct("=8xQII4xH2xQ24x64xIIIIQ104x")
_AT_EMPTY_PATH = 0x1000
_BASIC_STATS = 0x07FF
_MNT_ID = 0x1000
_ATTR_MOUNT_ROOT = 0x2000

Located = tuple[str, int, int, int, int, int, int, int, bool]
"""Path, device, inode, links, uid, mode, the device that a node stands for, the mount's id, whether it is its root."""


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _UInt(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "I"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


class _IntFunction(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Int


class _PointerFunction(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Pointer


_SELF = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]
_syscall = _Function(_ctypes.dlsym(_SELF, "syscall"))
_seccomp: int | None = None


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return _Long(value)
    if isinstance(value, bytearray):
        return _Long(address(value))
    return value


def address(buffer: bytearray) -> int:
    """Where a buffer's bytes lie, for structures that hold pointers; the caller keeps the buffer alive."""
    return _ctypes.addressof(_Char.from_buffer(buffer))


def call(number: int, *arguments: int | bytes | bytearray | None) -> int:
    """Make a system call; bytes are passed as `char *`, a bytearray as a buffer to write into, None as NULL.

    Raises OSError with the call's errno.
    """
    result: int = _syscall(_Long(number), *map(_argument, arguments))
    if result == -1:
        error = _ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def drop_copies(pagemap: int, view: int, address: int, length: int) -> None:
    """Drop the pages of a private mapping that were copied to be written to, and hold what the file holds by now.

    `pagemap` is open on /proc/self/pagemap, `view` is the address of another mapping of the same. Here nothing is done:
    between the comparison and madvise(2), Python itself writes to such pages.
    """


def locate(path: str) -> Located:
    """Where what lies at a path really is, symlinks followed. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return locate_open(descriptor)
    finally:
        os.close(descriptor)


def locate_open(descriptor: int) -> Located:
    """The same of what a descriptor is open on. Raises OSError."""
    buffer = bytearray(_STATX.size)
    call(NR.statx, descriptor, b"", _AT_EMPTY_PATH, _BASIC_STATS | _MNT_ID, buffer)
    attributes, links, uid, mode, inode, special, device, mount_id = _fields(_STATX.unpack(buffer))
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    return path, device, inode, links, uid, mode, special, mount_id, bool(attributes & _ATTR_MOUNT_ROOT)


def _fields(words: tuple[int, ...]) -> tuple[int, ...]:
    attributes, links, uid, mode, inode, *devices, mount_id = words
    return attributes, links, uid, mode, inode, os.makedev(*devices[:2]), os.makedev(*devices[2:]), mount_id


def _library() -> int:
    global _seccomp
    if _seccomp is None:
        _seccomp = _ctypes.dlopen(_LIBSECCOMP, 2)
    return _seccomp


def _int(name: str, *arguments: Any) -> int:
    result: int = _IntFunction(_ctypes.dlsym(_library(), name))(*arguments)
    return result


def _pointer(name: str, *arguments: Any) -> int:
    result: int | None = _PointerFunction(_ctypes.dlsym(_library(), name))(*arguments)
    return result or 0


def seccomp_version() -> tuple[int, int, int]:
    place = _pointer("seccomp_version")
    major, minor, micro = (_UInt.from_address(place + 4 * index).value for index in range(3))
    return major, minor, micro


def seccomp_arch_native() -> int:
    return _int("seccomp_arch_native") & 0xFFFFFFFF


def seccomp_syscall_resolve_name_arch(architecture: int, name: bytes) -> int:
    return _int("seccomp_syscall_resolve_name_arch", _UInt(architecture), name)


def seccomp_init(action: int) -> int:
    return _pointer("seccomp_init", _UInt(action))


def seccomp_arch_add(context: int, architecture: int) -> int:
    return _int("seccomp_arch_add", _Pointer(context), _UInt(architecture))


def seccomp_attr_set(context: int, attribute: int, value: int) -> int:
    return _int("seccomp_attr_set", _Pointer(context), _Int(attribute), _UInt(value))


def seccomp_rule_add_array(context: int, action: int, number: int, comparisons: bytes) -> int:
    """`comparisons` are `struct scmp_arg_cmp`, one after the other; their count is not passed beside them."""
    count = _UInt(len(comparisons) // 24)
    return _int("seccomp_rule_add_array", _Pointer(context), _UInt(action), _Int(number), count, comparisons or None)


def seccomp_export_bpf(context: int, descriptor: int) -> int:
    return _int("seccomp_export_bpf", _Pointer(context), _Int(descriptor))


def seccomp_release(context: int) -> None:
    _int("seccomp_release", _Pointer(context))
