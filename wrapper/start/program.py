"""hookrun-start and the heap that it runs from, as hookctl handles them."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hookrun
from hookrun.wrapper.start.seal import PROGRAM

HEAP = "heap"
DAMAGED = "its content is damaged, and calls go on with it"
"""The only `problem` with which calls start warm all the same: they have no time to look."""

_PYTHON = "cpython-311"
_OF_A_PACKAGE = "/usr/lib/hookrun"
_PATIENCE = 120
_ATTEMPTS = 3  # a number may look like the address of libc's memory by chance, which is elsewhere the next time


def packages() -> str:
    """The directory that holds the packages `wrapper`, `runtime`, … under the name hookrun."""
    return str(Path(next(iter(hookrun.__path__))).absolute())


def find() -> Path | None:
    """The program, None where this hookrun was installed without it. It is alone in its directory."""
    places = (Path(packages(), "wrapper/start/bin"), Path(_OF_A_PACKAGE))
    return next((place / PROGRAM for place in places if os.access(place / PROGRAM, os.X_OK)), None)


def fill(state: Path) -> str:
    """Write the heap in the directory `state` anew, in one rename. Returns why calls will start cold, or "".

    A heap that cannot be filled takes the one before with it: that is of other sources. Raises OSError.
    """
    state = state.absolute()
    heap = state / HEAP
    program = find()
    if program is None or sys.implementation.cache_tag != _PYTHON:
        heap.unlink(missing_ok=True)
        return problem(state)
    # A cold start makes directories for what it compiles, between the sources: better before those are looked at.
    for folder in Path(packages()).iterdir():  # links in a checkout, which compileall does not follow
        compileall.compile_dir(folder, quiet=2)
    temporary = state / f".{HEAP}.{os.getpid()}"
    for _ in range(_ATTEMPTS):
        complaint = _filled(program, temporary)
        if not complaint:
            temporary.chmod(0o644)
            temporary.rename(heap)
            return problem(state)
    heap.unlink(missing_ok=True)
    return complaint


def _filled(program: Path, heap: Path) -> str:
    """Write a new heap; returns why that failed, or ""."""
    done = subprocess.run(
        [program, "--fill", heap, packages()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_PATIENCE,
        check=False,
    )
    if done.returncode == 0:
        return ""
    heap.unlink(missing_ok=True)
    shutil.rmtree(f"{heap}.rehearsal", ignore_errors=True)
    lines = done.stderr.decode(errors="replace").splitlines()
    return lines[-1] if lines else f"{program} --fill ended with {done.returncode}"


def problem(state: Path) -> str:
    """What is wrong with the heap in `state`, so that launchers start cold or worse; "" if nothing. Raises OSError."""
    if sys.implementation.cache_tag != _PYTHON:
        return f"{PROGRAM} is made for Python 3.11, hookctl runs on {sys.version.split()[0]}"
    program = find()
    if program is None:
        return f"this hookrun was installed without {PROGRAM}"
    done = subprocess.run([program, "--check", state / HEAP], capture_output=True, check=False, timeout=_PATIENCE)
    return "" if done.returncode == 0 else done.stdout.decode(errors="replace").strip() or "it cannot be used"


if __name__ == "__main__":
    sys.exit(fill(Path(sys.argv[1])) or None)
