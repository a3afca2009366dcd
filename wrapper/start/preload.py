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

_OF_A_CHECKOUT = "pyproject.toml"

Source = tuple[str, int, int, int]
"""Path in the packages' directory, the time of its change in seconds and nanoseconds, size."""


def sources(packages: str) -> tuple[list[Source], int]:
    """Import all that a call may need from the directory `packages`; returns what it came from, directories first.

    The number is of those that each start looks at: all in a checkout, where files are edited. What is installed, a
    package manager replaces by renaming, which changes the directory: that is a tenth of the work.
    """
    top = Path(packages)
    found = modules.find(top).ours
    files = sorted(set(found.values()))
    directories = sorted({path.parent for path in files})
    statuses = [_source(top, path) for path in (*directories, *files)]
    for name in sorted(found):
        import_module(name)
    is_checkout = ((top / "wrapper").resolve().parent / _OF_A_CHECKOUT).exists()
    return statuses, len(statuses) if is_checkout else len(directories)


def _source(top: Path, path: Path) -> Source:
    status = path.stat()
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    return str(path.relative_to(top)), seconds, nanoseconds, status.st_size


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
