"""What a heap is filled with; run by `hookrun-start --fill` alone, and once.

Every module of every command is here before the first call: a process that has entered a container loads nothing. A
child finds and compiles them, and takes with it what that needs of memory: what calls use lies close together, then,
and makes few pages dirty.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys

from hookrun.wrapper.start import given

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

# What these know is a process's own: who loads one of them beforehand shares its chance or its threads with every call.
_NEVER = frozenset(("multiprocessing", "random", "secrets", "tempfile", "threading", "uuid"))
_RARELY = 200_000  # objects between two searches for garbage
_CHUNK = 65536  # what a pipe holds

Source = tuple[str, int, int, int]
"""Path in the packages' directory, the time of its change in seconds and nanoseconds, size."""


def sources(packages: str) -> tuple[list[Source], int]:
    """Import all that a call may need from the directory `packages`; returns what it came from, directories first.

    The number is of those that each start looks at. Raises ImportError.
    """
    codes, statuses, first = _compiled_elsewhere(packages)
    given.import_all(codes)
    return statuses, first


def _compiled_elsewhere(packages: str) -> tuple[dict[str, given.Code], list[Source], int]:
    reader, writer = posix.pipe()
    child = posix.fork()
    if child == 0:
        from hookrun.wrapper.start import compiled

        data = memoryview(marshal.dumps(compiled.compiled(packages)))
        while data:
            data = data[posix.write(writer, data) :]
        posix._exit(0)
    posix.close(writer)
    parts = []
    while part := posix.read(reader, _CHUNK):
        parts.append(part)
    posix.close(reader)
    if posix.waitpid(child, 0)[1] or not parts:
        raise ImportError(f"the modules in {packages} cannot be compiled")
    found: tuple[dict[str, given.Code], list[Source], int] = marshal.loads(b"".join(parts))
    return found


def rehearse(place: str) -> list[CodeType]:
    """Rehearse the commands in the directory `place`, which is not there; returns the code that this ran."""
    from hookrun.wrapper.start import rehearsal

    return rehearsal.codes(place)


def gather(codes: list[CodeType]) -> None:
    """Have each function of one of these codes run a copy: those lie side by side, in the order of the list."""
    copies = {id(code): code.replace() for code in codes}
    for function in gc.get_objects():
        if type(function) is type(gather) and id(function.__code__) in copies:
            function.__code__ = copies[id(function.__code__)]


def settle(place: str) -> Callable[[str], None]:
    """Leave Python as a call shall find it; returns what a call is to run. Raises ImportError.

    The commands are rehearsed once more in the directory `place`: code that was copied has to be suited again.
    """
    from hookrun.wrapper.start import rehearsal, rehearsed

    rehearsal.rehearse(place)
    entry = sys.modules["hookrun.wrapper.entry"]
    unwanted = _NEVER & sys.modules.keys()
    if unwanted:
        raise ImportError(f"a heap must not hold the module {', '.join(sorted(unwanted))}")
    for name in (__name__, given.__name__, rehearsal.__name__, rehearsed.__name__):
        sys.modules.pop(name, None)
    sys.modules["hookrun"].__path__.clear()
    sys.path_importer_cache.clear()
    gc.set_threshold(_RARELY)  # a command ends before it is worth a look; `events` may last
    gc.collect()
    gc.freeze()
    main: Callable[[str], None] = entry.main
    return main
