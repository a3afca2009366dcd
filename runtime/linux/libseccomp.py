"""The part of libseccomp's C interface that turns rules into a program (seccomp.h of libseccomp 2.5).

Called through `_ctypes`, since `import ctypes` costs 2 ms; loaded only when a profile has no compiled program yet.
"""

from __future__ import annotations

import _ctypes
from _struct import pack

from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Comparison = tuple[int, int, int, int]
    """Argument's index, operator, value, second value."""

_LIBRARY = "libseccomp.so.2"
_ATTRIBUTE_OPTIMIZE = 8
_BINARY_TREE = 2


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _UInt(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "I"


class _Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _IntFunction(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Int


class _PointerFunction(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Pointer


class Library:
    """libseccomp, loaded. Raises OSError where the host has none."""

    __slots__ = ("_handle",)

    UNKNOWN_SYSCALL = -1

    def __init__(self) -> None:
        self._handle = _ctypes.dlopen(_LIBRARY, 2)

    def _int(self, name: str, *arguments: Any) -> int:
        result: int = _IntFunction(_ctypes.dlsym(self._handle, name))(*arguments)
        return result

    def _pointer(self, name: str, *arguments: Any) -> int:
        result: int | None = _PointerFunction(_ctypes.dlsym(self._handle, name))(*arguments)
        return result or 0

    def path(self) -> str:
        """The file that was loaded."""
        with open("/proc/self/maps", encoding="utf-8") as maps:
            return next(line.split(maxsplit=5)[5].rstrip("\n") for line in maps if _LIBRARY in line)

    def version(self) -> tuple[int, int, int]:
        """The version at run time."""
        from_address = _UInt.from_address
        place = self._pointer("seccomp_version")
        major, minor, micro = (from_address(place + 4 * index).value for index in range(3))
        return major, minor, micro

    def native_architecture(self) -> int:
        """This machine's SCMP_ARCH_ token."""
        return self._int("seccomp_arch_native") & 0xFFFFFFFF

    def number(self, name: str, architecture: int) -> int:
        """Number of a system call: negative and not UNKNOWN_SYSCALL for one that only other architectures have."""
        return self._int("seccomp_syscall_resolve_name_arch", _UInt(architecture), name.encode())

    def filter(self, default_action: int) -> Filter:
        """A new filter without rules. Raises OSError for an action that it does not know."""
        return Filter(self, default_action)


class Filter:
    """Rules that become a program; `release` gives the memory back."""

    __slots__ = ("_context", "_library")

    def __init__(self, library: Library, default_action: int) -> None:
        self._library = library
        self._context = _Pointer(library._pointer("seccomp_init", _UInt(default_action)))
        if not self._context:
            raise OSError(22, os.strerror(22))

    def _call(self, name: str, *arguments: Any) -> int:
        return self._library._int(name, self._context, *arguments)

    def add_architecture(self, architecture: int) -> None:
        """Filter the calls of one more architecture. Raises OSError for one that the library does not know."""
        _check(self._call("seccomp_arch_add", _UInt(architecture)), but=17)

    def optimize(self) -> None:
        """Search the rules as a binary tree; nothing happens in a library that can't."""
        self._call("seccomp_attr_set", _Int(_ATTRIBUTE_OPTIMIZE), _UInt(_BINARY_TREE))

    def add_rule(self, action: int, number: int, comparisons: Sequence[Comparison]) -> None:
        """Answer the calls of this number whose arguments meet every comparison with the action. Raises OSError."""
        packed = b"".join(pack("=IIQQ", *comparison) for comparison in comparisons)
        _check(
            self._call("seccomp_rule_add_array", _UInt(action), _Int(number), _UInt(len(comparisons)), packed or None)
        )

    def program(self) -> bytes:
        """The rules as an array of the kernel's `struct sock_filter`. Raises OSError."""
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(self._call("seccomp_export_bpf", _Int(descriptor)))
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the memory back; the filter can't be used afterwards."""
        _IntFunction(_ctypes.dlsym(self._library._handle, "seccomp_release"))(self._context)


def _check(result: int, but: int = 0) -> None:
    if result < 0 and -result != but:
        raise OSError(-result, os.strerror(-result))
