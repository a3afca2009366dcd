"""Launchers that start hookrun from a heap, in state directories of a test's own."""

from __future__ import annotations

import compileall
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hookrun.wrapper.start import program
from hookrun.wrapper.start.seal import PROGRAM
from tests.support.runtimes import CHECKOUT

START = CHECKOUT / "wrapper/start/bin" / PROGRAM
HEAP = CHECKOUT / ".venv/state" / program.HEAP

ATTEMPTS = 3  # as hookctl does: a number may look like the address of libc's memory by chance

_TEXT = """#!{start} {heap}
#!/usr/bin/python3 -ISXutf8
import sys
sys.path.append({packages!r})
from hookrun.wrapper.entry import main
main({state!r})
"""


def launcher(path: Path, state: Path) -> Path:
    """Write a launcher of the checkout's hookrun with a copy of its heap in the directory `state`."""
    shutil.copy(HEAP, state / program.HEAP)
    packages = str(Path(program.packages()).parent)
    path.write_text(_TEXT.format(start=START, heap=state / program.HEAP, packages=packages, state=str(state)))
    path.chmod(0o755)
    return path


def copied(place: Path) -> Path:
    """The packages of this checkout in a directory of their own, as an installation has them."""
    for folder in ("hooks", "policies", "runtime", "wrapper"):
        shutil.copytree(CHECKOUT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__", "bin", "admin"))
    # as hookctl does: a cold start would change the directories
    compileall.compile_dir(place, quiet=2)
    return place


def with_entry(place: Path, text: str) -> Path:
    """The same with another `wrapper/entry.py`, whose `main` a heap of them runs."""
    copied(place)
    (place / "wrapper/entry.py").write_text(text)
    return place


def fill(heap: Path, packages: Path | str, *through: str, **options: Any) -> None:
    """Have the program fill a heap, which must succeed.

    `through` are words of another program that executes it; `options` are subprocess.run's.
    """
    words = [*through, START, "--fill", heap, packages]
    for _ in range(ATTEMPTS):
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **options)
        if not done.returncode:
            return
    raise AssertionError(done.stderr)
