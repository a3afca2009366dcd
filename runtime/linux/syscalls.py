"""Foreign functions: libc's `syscall(2)`, and what must not be interrupted by Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookrun.runtime.linux.numbers import NR

if TYPE_CHECKING:
    from hookrun.runtime.linux.foreign import address, call, drop_copies, locate, locate_open
else:
    try:
        from _kernel import address, call, drop_copies, locate, locate_open  # of hookrun-start
    except ImportError:
        from hookrun.runtime.linux.foreign import address, call, drop_copies, locate, locate_open

__all__ = ["NR", "address", "call", "check", "drop_copies", "locate", "locate_open"]


def check(number: int, path: str, *arguments: int | bytes | bytearray | None) -> int:
    """Like `call`; the OSError names the path that it was about."""
    try:
        return call(number, *arguments)
    except OSError as error:
        error.filename = path
        raise
