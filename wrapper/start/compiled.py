"""The code of all modules that a call may need, and the state of the files that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hookrun.wrapper.start import modules

if TYPE_CHECKING:
    from hookrun.wrapper.start.given import Code
    from hookrun.wrapper.start.preload import Source

_OF_A_CHECKOUT = "pyproject.toml"
_WITHOUT_DOCSTRINGS = 2


def compiled(packages: str) -> tuple[dict[str, Code], list[Source], int]:
    """Find and compile the modules in the directory `packages`. Raises OSError, SyntaxError.

    Returns their code by their names; the directories and the files that they lie in; and how many of these each start
    shall look at: all in a checkout, where files are edited. What is installed, a package manager replaces by renaming,
    which changes the directory: that is a tenth of the work.
    """
    top = Path(packages)
    found = modules.find(top).ours
    files = sorted(set(found.values()))
    directories = sorted({path.parent for path in files})
    sources = [_source(top, path) for path in (*directories, *files)]
    is_checkout = ((top / "wrapper").resolve().parent / _OF_A_CHECKOUT).exists()
    codes = {name: _code(path) for name, path in found.items()}
    return codes, sources, len(sources) if is_checkout else len(directories)


def _code(path: Path) -> Code:
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=_WITHOUT_DOCSTRINGS)
    return str(path), path.name == "__init__.py", code


def _source(top: Path, path: Path) -> Source:
    status = path.stat()
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    return str(path.relative_to(top)), seconds, nanoseconds, status.st_size
