"""From a heap to a plain Python, for what the heap does not hold."""

from __future__ import annotations

import os
import sys

_SELF = "/proc/self/exe"
_KERNEL = "_kernel"  # which hookrun-start alone has


def start_again_without(module: str) -> None:
    """Return if this process can have the module; else replace it by the same command in a Python that was not woken.

    A heap holds the modules of all commands but those that take protobuf (`start/modules.py`), and loads no more.
    """
    if module in sys.modules or _KERNEL not in sys.builtin_module_names:
        return
    words = [sys.orig_argv[0], "--cold", f"{module} is not in the heap", *sys.orig_argv[2:]]
    os.execve(_SELF, [os.fsencode(word) for word in words], os.environb)
