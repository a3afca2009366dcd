"""The code of the hot path in one file, for an import without the search that costs more than the module itself.

Python looks for a module in directories, opens its `.pyc`, checks it against its source, and does so again for each of
the fifty modules of a `create`: 60 microseconds every time. The archive, written by `hookctl` beside the snapshot, has
their code side by side. An entry counts only while the source is the very file that it was made from; for all else,
and where there is no archive, Python's own import goes on as ever.

Layout: MAGIC; the index's length in eight bytes; the index, a marshalled dict from a module's name to `Entry`'s fields;
then the modules' marshalled code objects.
"""

from __future__ import annotations

import _frozen_importlib
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

NAME = "code"
MAGIC = b"hookrun code for %s\n" % sys.implementation.cache_tag.encode()

# path of the source, its mtime in nanoseconds and size, whether it is a package, offset and length of the code
Entry = tuple[str, int, int, bool, int, int]


class _Archive:
    """A finder for sys.meta_path, and the loader of what it finds."""

    __slots__ = ("_descriptor", "_index")

    def __init__(self, descriptor: int, index: dict[str, Entry]) -> None:
        self._descriptor = descriptor
        self._index = index

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        entry = self._index.get(name)
        if entry is None or not _is_current(entry):
            return None
        loader: Any = self  # importlib asks for the three methods, not for a base class
        spec: ModuleSpec = _frozen_importlib.ModuleSpec(name, loader, origin=entry[0], loader_state=entry)
        if entry[3]:
            spec.submodule_search_locations = [os.path.dirname(entry[0])]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        path, _, _, _, offset, length = module.__spec__.loader_state  # type: ignore[union-attr]
        module.__file__ = path
        exec(marshal.loads(os.pread(self._descriptor, length, offset)), module.__dict__)


def _is_current(entry: Entry) -> bool:
    try:
        status = os.stat(entry[0])
    except OSError:
        return False
    return status.st_mtime_ns == entry[1] and status.st_size == entry[2]


def install(path: str) -> None:
    """Import from the archive at `path` from now on, if this Python can use it and nobody but root can write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    status = os.fstat(descriptor)
    head = os.pread(descriptor, len(MAGIC) + 8, 0)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022 or not head.startswith(MAGIC):
        os.close(descriptor)
        return
    length = int.from_bytes(head[len(MAGIC) :], "big")
    try:
        index = marshal.loads(os.pread(descriptor, length, len(head)))
    except (EOFError, ValueError, TypeError):  # cut short: as good as none
        os.close(descriptor)
        return
    sys.meta_path.insert(0, _Archive(descriptor, index))
