"""One foreign function: libc's `syscall(2)`.

`import ctypes` costs 2.4 ms of a cold start; the C module below it is all that one function needs.
"""

from __future__ import annotations

import _ctypes

from hookrun.runtime.linux import os
from hookrun.runtime.linux.numbers import NR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NR", "address", "call", "check"]


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_SELF = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]
_syscall = _Function(_ctypes.dlsym(_SELF, "syscall"))


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


def check(number: int, path: str, *arguments: int | bytes | bytearray | None) -> int:
    """Like `call`; the OSError names the path that it was about."""
    try:
        return call(number, *arguments)
    except OSError as error:
        error.filename = path
        raise
