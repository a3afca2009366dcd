"""A CRIU that works on this kernel: the system's own, or else Debian's newest, unpacked beside the system's libraries.

Debian 12's CRIU 3.17 works in the virtual machine, whose kernel is of its age; it does not know the vDSO of newer
kernels. The newest runs by its own loader.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

from tests.support import later

_SCRIPT = """#!/bin/sh
exec {root}/usr/lib64/{loader} --library-path {libraries} {root}/usr/sbin/criu "$@"
"""


@functools.cache
def path() -> str:
    """$PATH with the directory of that `criu` first. Raises AssertionError, OSError where it can't be had."""
    if shutil.which("criu") and not _problem(os.environ["PATH"]):
        return os.environ["PATH"]
    root = later.unpacked("criu")
    script = root / "bin/criu"
    if not script.exists():
        loader = next((root / "usr/lib64").glob("ld-linux-*.so.*")).name
        libraries = next((root / "usr/lib").glob("*-linux-gnu*")).name
        script.parent.mkdir(exist_ok=True)
        unfinished = script.with_suffix(f".{os.getpid()}")
        unfinished.write_text(_SCRIPT.format(root=root, loader=loader, libraries=f"{root}/usr/lib/{libraries}"))
        unfinished.chmod(0o755)
        unfinished.rename(script)
    return f"{script.parent}:{os.environ['PATH']}"


@functools.cache
def problem() -> str:
    """Why that CRIU does not work on this kernel, "" where it does."""
    return _problem(path())


def _problem(search: str) -> str:
    environment = {**os.environ, "PATH": search}
    done = subprocess.run(
        ["criu", "check"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return done.stderr.strip() if done.returncode else ""
