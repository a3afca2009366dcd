"""Launchers that start hookrun from a heap, in state directories of a test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from hookrun.wrapper.seal import PROGRAM
from hookrun.wrapper.start import program
from tests.support.runtimes import CHECKOUT

START = CHECKOUT / "wrapper/start/bin" / PROGRAM
HEAP = CHECKOUT / ".venv/state" / program.HEAP

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
