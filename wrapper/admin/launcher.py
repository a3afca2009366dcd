"""The programs that engines are told to call: `NAME`, a few lines of Python behind absolute, sealed interpreters.

The first line starts hookrun-start with its heap. Where that cannot be used, or this hookrun has none, the line after
it says what to start instead. No shell stands between engine and interpreter, no runtimeArgs are needed: the name
chooses the profile.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loguru import logger

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import files
from hookrun.wrapper.start import program, seal

_COLD = """import sys
package = type(sys)("hookrun")
package.__path__ = [{packages!r}]
sys.modules["hookrun"] = package
from hookrun.wrapper.entry import main
main({state!r})
"""
_OF_0_1_0 = ("code", "pyvenv.cfg")
_LONGEST_FIRST_LINE = 255  # what execve(2) reads of it


def check_name(name: str) -> None:
    """Refuse a name that is no plain file name. Raises Failure."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) or name.startswith((".", "-")):
        raise Failure(f"invalid name {name!r} of a runtime: letters, digits, '-', '_' and '.' only")


def path_of(directory: Path, name: str) -> Path:
    """Where the launcher of this name is."""
    return directory / "launchers" / name


def text(state: Path) -> str:
    """A launcher's content, for the package that this hookctl runs from. Raises Failure."""
    lines = [_first_line(_system_interpreter(), "-ISXutf8")]
    if program.find():
        lines.insert(0, _first_line(str(state / seal.NAME / seal.PROGRAM), str(state / program.HEAP)))
    return "".join(lines) + _COLD.format(packages=program.packages(), state=str(state))


def _first_line(interpreter: str, argument: str) -> str:
    """Raises Failure for what execve(2) would read otherwise: it ends words at blanks, and cuts the line."""
    line = f"#!{interpreter} {argument}\n"
    if len(line.split()) > 2:
        raise Failure(f"{interpreter}: a launcher cannot name a path with spaces: choose another --state")
    if len(os.fsencode(line)) > _LONGEST_FIRST_LINE:
        raise Failure(f"{interpreter}: the path is too long for a launcher: choose another --state")
    return line


def install(state: Path, name: str) -> Path:
    """Write the launcher of this name and what it starts with; returns its path. Raises Failure."""
    check_name(name)
    content = text(state)
    prepare(state)
    return _write(path_of(state, name), content)


def prepare(state: Path) -> None:
    """Make the seal and the heap ready. Raises Failure."""
    found = program.find()
    try:
        state.mkdir(0o755, parents=True, exist_ok=True)
        if found:
            seal.prepare(str(state), str(found))
        problem = program.fill(state)
    except OSError as error:
        raise Failure(f"cannot prepare {error.filename or state}: {reason(error)}") from None
    if problem:
        logger.warning("hookrun will start slowly: {}", problem)


def refresh(state: Path) -> list[str]:
    """Write all that this module ever wrote in `state` anew; returns the launchers' names. Raises Failure."""
    prepare(state)
    for left in _OF_0_1_0:
        (state / left).unlink(missing_ok=True)
    names = sorted(path.name for path in (state / "launchers").glob("[!.]*"))
    for name in names:
        _write(path_of(state, name), text(state))
    return names


def _write(path: Path, content: str) -> Path:
    files.replace(path, content, 0o755)
    path.chmod(0o755)
    return path


def _system_interpreter() -> str:
    """The interpreter behind a virtual environment's: its own would look for a library that `-S` leaves out."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return base


def remove(state: Path, name: str) -> None:
    """Take the launcher away; none is no fault."""
    path_of(state, name).unlink(missing_ok=True)
