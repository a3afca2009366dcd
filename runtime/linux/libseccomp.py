"""The part of libseccomp's C interface that turns rules into a program (seccomp.h of libseccomp 2.5).

The library is loaded only when a profile has no compiled program yet.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from struct import pack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hookrun.runtime.linux import foreign as library
else:
    try:
        import _kernel as library  # of hookrun-start, which is linked with libseccomp
    except ImportError:
        from hookrun.runtime.linux import foreign as library

Comparison = tuple[int, int, int, int]
"""Argument's index, operator, value, second value."""

_NAME = "libseccomp.so.2"
_ATTRIBUTE_OPTIMIZE = 8
_BINARY_TREE = 2


class Library:
    """libseccomp. Raises OSError where the host has none."""

    __slots__ = ()

    UNKNOWN_SYSCALL = -1

    def __init__(self) -> None:
        library.seccomp_version()

    def path(self) -> str:
        """The file that it is in."""
        with open("/proc/self/maps", encoding="utf-8") as maps:
            found = (line.split(maxsplit=5)[5].rstrip("\n") for line in maps if _NAME in line)
            return next(found, sys.executable)

    def version(self) -> tuple[int, int, int]:
        """The version at run time."""
        return library.seccomp_version()

    def native_architecture(self) -> int:
        """This machine's SCMP_ARCH_ token."""
        return library.seccomp_arch_native()

    def number(self, name: str, architecture: int) -> int:
        """Number of a system call: negative and not UNKNOWN_SYSCALL for one that only other architectures have."""
        return library.seccomp_syscall_resolve_name_arch(architecture, name.encode())

    def filter(self, default_action: int) -> Filter:
        """A new filter without rules. Raises OSError for an action that it does not know."""
        return Filter(default_action)


class Filter:
    """Rules that become a program; `release` gives the memory back."""

    __slots__ = ("_context",)

    def __init__(self, default_action: int) -> None:
        self._context = library.seccomp_init(default_action)
        if not self._context:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def add_architecture(self, architecture: int) -> None:
        """Filter the calls of one more architecture. Raises OSError for one that the library does not know."""
        _check(library.seccomp_arch_add(self._context, architecture), but=errno.EEXIST)

    def optimize(self) -> None:
        """Search the rules as a binary tree; nothing happens in a library that can't."""
        library.seccomp_attr_set(self._context, _ATTRIBUTE_OPTIMIZE, _BINARY_TREE)

    def add_rule(self, action: int, number: int, comparisons: Sequence[Comparison]) -> None:
        """Answer the calls of this number whose arguments meet every comparison with the action. Raises OSError."""
        packed = b"".join(pack("=IIQQ", *comparison) for comparison in comparisons)
        _check(library.seccomp_rule_add_array(self._context, action, number, packed))

    def program(self) -> bytes:
        """The rules as an array of the kernel's `struct sock_filter`. Raises OSError."""
        descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check(library.seccomp_export_bpf(self._context, descriptor))
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the memory back; the filter can't be used afterwards."""
        library.seccomp_release(self._context)


def _check(result: int, but: int = 0) -> None:
    if result < 0 and -result != but:
        raise OSError(-result, os.strerror(-result))
