"""The programs that engines are told to call: `NAME`, a few lines of Python with an absolute, sealed interpreter.

No shell stands between engine and interpreter, no runtimeArgs are needed: the name chooses the profile.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import precompile, seal
from hookrun.wrapper.admin import files

_TEXT = """#!{interpreter} -ISXutf8
from _frozen_importlib_external import SourceFileLoader
archive = {{}}
exec(SourceFileLoader("archive", {packages!r} + "/wrapper/archive.py").get_code("archive"), archive)
archive["start"]({packages!r}, {state!r})
"""


def check_name(name: str) -> None:
    """Refuse a name that is no plain file name. Raises Failure."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) or name.startswith((".", "-")):
        raise Failure(f"{name!r} can't be a runtime's name: letters, digits, '-', '_' and '.' only")


def path_of(directory: Path, name: str) -> Path:
    """Where the launcher of this name is."""
    return directory / "launchers" / name


def text(state: Path, interpreter: str) -> str:
    """A launcher's content, for the package that this hookctl runs from."""
    packages = str(Path(__file__).resolve().parents[2])
    return _TEXT.format(interpreter=interpreter, packages=_package_directory() or packages, state=str(state))


def _package_directory() -> str:
    """The directory that holds the packages `wrapper`, `runtime`, … under the name hookrun."""
    import hookrun

    return str(Path(next(iter(hookrun.__path__))).absolute())


def install(state: Path, name: str) -> Path:
    """Write the launcher of this name and make the seal ready for it; returns its path. Raises Failure."""
    check_name(name)
    interpreter = prepare(state)
    path = path_of(state, name)
    files.replace(path, text(state, interpreter), 0o755)
    path.chmod(0o755)
    return path


def prepare(state: Path) -> str:
    """Make the seal and the hot path's code ready; returns the interpreter's path for launchers. Raises Failure."""
    try:
        interpreter = seal.prepare(str(state), _system_interpreter())
        precompile.write(str(state))
    except OSError as error:
        raise Failure(f"cannot prepare {state}/seal: {reason(error)}") from None
    return interpreter


def refresh(state: Path) -> list[str]:
    """Write all that this module ever wrote in `state` anew; returns the launchers' names. Raises Failure."""
    prepare(state)
    names = sorted(path.name for path in (state / "launchers").glob("[!.]*"))
    for name in names:
        install(state, name)
    return names


def _system_interpreter() -> str:
    """The interpreter behind a virtual environment's: its own would look for a library that `-S` leaves out."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return base


def remove(state: Path, name: str) -> None:
    """Take the launcher away; none is no fault."""
    path_of(state, name).unlink(missing_ok=True)
