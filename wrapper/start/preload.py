"""What a heap is filled with; run by `hookrun-start --fill` alone, and once.

Every module of every command is here before the first call: a process that has entered a container loads nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hookrun.wrapper.start import modules

# What these know is a process's own: who loads one of them beforehand shares its chance or its threads with every call.
_NEVER = frozenset(("multiprocessing", "random", "secrets", "tempfile", "threading", "uuid"))
_RARELY = 200_000  # objects between two searches for garbage

Source = tuple[str, int, int, int]
"""Path in the packages' directory, the time of its change in seconds and nanoseconds, size."""


def sources(packages: str) -> list[Source]:
    """Import all that a call may need from the directory `packages`; returns the files that it came from."""
    found = modules.find(Path(packages)).ours
    statuses = {path: path.stat() for path in found.values()}
    for name in sorted(found):
        import_module(name)
    return [
        (str(path.relative_to(packages)), *divmod(status.st_mtime_ns, 10**9), status.st_size)
        for path, status in sorted(statuses.items())
    ]


def settle() -> Callable[[str], None]:
    """Leave Python as a call shall find it; returns what a call is to run. Raises ImportError."""
    entry = sys.modules["hookrun.wrapper.entry"]
    unwanted = _NEVER & sys.modules.keys()
    if unwanted:
        raise ImportError(f"a heap must not hold the module {', '.join(sorted(unwanted))}")
    for name in ("hookrun.wrapper.start", __name__, modules.__name__, "ast", "_ast"):
        sys.modules.pop(name, None)
    sys.modules["hookrun"].__path__.clear()
    sys.path_importer_cache.clear()
    gc.set_threshold(_RARELY)  # a command ends before it is worth a look; `events` may last
    gc.collect()
    gc.freeze()
    main: Callable[[str], None] = entry.main
    return main
