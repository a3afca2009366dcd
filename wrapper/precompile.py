"""Writing the archive of the hot path's code; `hookctl` does it when it writes launchers."""

from __future__ import annotations
import __future__

import marshal
import os
from collections.abc import Iterator
from pathlib import Path

import hookrun
from hookrun.wrapper import archive

_FOLDERS = ("hooks", "policies", "runtime", "wrapper")
_LEFT_OUT = ("admin", "__pycache__", "library", "schema")
_WITHOUT_DOCSTRINGS = 2


def write(state: str) -> Path:
    """Write the archive into the directory `state`, in one rename. Returns its path; raises OSError."""
    code = b""
    places = {}
    for name, path in _sources():
        status = path.stat()
        compiled = compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=_WITHOUT_DOCSTRINGS)
        data = marshal.dumps(compiled)
        places[name] = (str(path), status.st_mtime_ns, status.st_size, path.name == "__init__.py", len(code), len(data))
        code += data
    target = Path(state) / archive.NAME
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    temporary.write_bytes(_with_index(places, code))
    temporary.chmod(0o644)
    return temporary.rename(target)


def _with_index(places: dict[str, archive.Entry], code: bytes) -> bytes:
    """The index's numbers are offsets in the whole file, so its own length is settled first."""
    start = 0
    while True:
        index = marshal.dumps({name: (*place[:4], place[4] + start, place[5]) for name, place in places.items()})
        if start == len(archive.MAGIC) + 8 + len(index):
            return archive.MAGIC + len(index).to_bytes(8, "big") + index + code
        start = len(archive.MAGIC) + 8 + len(index)


def _sources() -> Iterator[tuple[str, Path]]:
    yield "__future__", Path(__future__.__file__)
    packages = Path(next(iter(hookrun.__path__)))
    for folder in _FOLDERS:
        for path in sorted((packages / folder).rglob("*.py")):
            parts = path.relative_to(packages).with_suffix("").parts
            if not set(parts) & set(_LEFT_OUT):
                yield ".".join(("hookrun", *parts)).removesuffix(".__init__"), path
