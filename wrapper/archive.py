"""The code of the hot path in one file, for an import without the search that costs more than the module itself.

Python looks for a module in directories, opens its `.pyc`, checks it against its source, and does so again for each of
the fifty modules of a `create`: 0.1 ms every time. The archive, written by `hookctl` beside the snapshot, has their
code side by side, and knows of each what it imports at its top: all of that is loaded along with it, without asking
Python's import machinery module by module. An entry counts only while the source is the very file that it was made
from; for all else, and where there is no archive, Python's own import goes on as ever.

Layout: MAGIC; the index's length in eight bytes; the index, a marshalled dict from a module's name to the offset and
the length of its entry; then the entries, each marshalled by itself: most are read by no command.
"""

import _frozen_importlib
import gc
import marshal
import posix
import sys
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

NAME = "code"
_RARELY = 200_000  # objects between two searches for garbage
MAGIC = b"hookrun code, 2nd form, for %s\n" % sys.implementation.cache_tag.encode()

# path of the source, its mtime in nanoseconds and size, whether it is a package, the modules to be loaded before it in
# their order, the marshalled code; of an extension module, the path of its library, and b"" for code
Entry = tuple[str, int, int, bool, tuple[str, ...], bytes]


class _Archive:
    """A finder for sys.meta_path, and the loader of what it finds."""

    __slots__ = ("_descriptor", "_index")

    def __init__(self, descriptor: int, index: dict[str, tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._index = index

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        entry = self._entry(name)
        if entry is None:
            return None
        if not entry[5]:
            return _frozen_importlib.ModuleSpec(name, ExtensionFileLoader(name, entry[0]), origin=entry[0])
        for needed in entry[4]:
            if needed not in sys.modules:
                self._load(needed)
        loader: Any = self  # importlib asks for the three methods, not for a base class
        spec: ModuleSpec = _frozen_importlib.ModuleSpec(name, loader, origin=entry[0], loader_state=entry)
        if entry[3]:
            spec.submodule_search_locations = [_directory(entry)]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Python makes the module."""

    def exec_module(self, module: "ModuleType") -> None:
        _execute(module, module.__spec__.loader_state)  # type: ignore[union-attr]

    def _load(self, name: str) -> None:
        """Load a module whose own needs are there; one whose source or package is another by now is left to Python."""
        parent, _, last = name.rpartition(".")
        entry = self._entry(name)
        if entry is None or (parent and parent not in sys.modules):
            return
        module = type(sys)(name)
        if entry[3]:
            module.__path__ = [_directory(entry)]
        sys.modules[name] = module
        _execute(module, entry)
        if parent:
            setattr(sys.modules[parent], last, module)

    def _entry(self, name: str) -> Entry | None:
        """None for a module that is not here, or whose source is another by now."""
        place = self._index.get(name)
        if place is None:
            return None
        entry: Entry = marshal.loads(posix.pread(self._descriptor, place[1], place[0]))
        return entry if _is_current(entry) else None


def _execute(module: "ModuleType", entry: Entry) -> None:
    module.__file__ = entry[0]
    exec(marshal.loads(entry[5]), module.__dict__)


def _directory(entry: Entry) -> str:
    return entry[0].rpartition("/")[0]


def _is_current(entry: Entry) -> bool:
    try:
        status = posix.stat(entry[0])
    except OSError:
        return False
    return status.st_mtime_ns == entry[1] and status.st_size == entry[2]


def install(path: str) -> None:
    """Import from the archive at `path` from now on, if this Python can use it and nobody but root can write it."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    status = posix.fstat(descriptor)
    head = posix.pread(descriptor, len(MAGIC) + 8, 0)
    if status.st_uid not in (0, posix.geteuid()) or status.st_mode & 0o022 or not head.startswith(MAGIC):
        posix.close(descriptor)
        return
    length = int.from_bytes(head[len(MAGIC) :], "big")
    try:
        index = marshal.loads(posix.pread(descriptor, length, len(head)))
    except (EOFError, ValueError, TypeError):  # cut short: as good as none
        posix.close(descriptor)
        return
    sys.meta_path.insert(0, _Archive(descriptor, index))


def start(packages: str, state: str) -> None:
    """Run the command line of this process with the packages in the directory `packages`; a launcher's whole work.

    `state` is the directory of the snapshot, the archive and the sealed interpreter.
    """
    gc.set_threshold(_RARELY)  # loading makes none, and a command ends before it is worth a look; `events` may last
    package = type(sys)("hookrun")
    package.__path__ = [packages]
    sys.modules["hookrun"] = package
    install(f"{state}/{NAME}")
    from hookrun.wrapper.entry import main

    main(state)
