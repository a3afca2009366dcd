"""The rows of the file system tables: one container each, and what it must show."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.runtimes import Result, Runtime

Arrange = Callable[[Bundle, Path], object]


@dataclass(frozen=True)
class Row:
    """A container: `arrange` fits out its bundle (and a directory beside it), `script` runs inside."""

    name: str
    arrange: Arrange
    script: str
    expect: str
    """A regular expression that the output or the error must have."""
    status: int = 0
    options: tuple[str, ...] = ()
    """For the `run` command."""
    in_runc: bool = True
    """Whether Debian's runc does the same; it is older than some of the options."""


def show(path: str) -> str:
    """A script that prints the mounts at a path: options, propagation, type, source, the file system's options."""
    without_numbers = "sed -E 's/(shared|master|propagate_from):[0-9]+/\\1/g'"
    return f"grep ' {path} ' /proc/self/mountinfo | cut -d' ' -f5- | {without_numbers}"


def normalized(output: str, place: Path, container_id: str) -> str:
    """The output without what differs from run to run, and without the size that newer runcs give a mask."""
    text = output.replace(str(place), "PLACE").replace(container_id, "ID")
    return text.replace("tmpfs tmpfs ro,size=4k,nr_inodes=1", "tmpfs tmpfs ro")


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that the root of a user namespace can reach, unlike pytest's."""
    place = Path(tempfile.mkdtemp(prefix="hookrun-", dir="/tmp"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextmanager
def host_tmpfs(*paths: Path) -> Iterator[None]:
    """tmpfs mounts on the host, the first of them above the others; they are gone afterwards."""
    made: list[Path] = []
    try:
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True, stdin=subprocess.DEVNULL, timeout=60)
            made.append(path)
        yield
    finally:
        for path in reversed(made):
            subprocess.run(["umount", "-l", path], check=True, stdin=subprocess.DEVNULL, timeout=60)


def run(row: Row, runtime: Runtime, place: Path) -> tuple[Result, str]:
    """Run a row's container; returns how it ended, and its output without what differs from run to run."""
    home = place / runtime.name
    source = home / "source"
    source.mkdir(parents=True, exist_ok=True)
    (home / "bundle").mkdir(exist_ok=True)
    bundle = Bundle(home / "bundle")
    bundle.process["noNewPrivileges"] = False
    row.arrange(bundle, source)
    bundle.shell(row.script)
    container_id = f"fs-{place.name}"
    result = runtime.run(bundle.path, *row.options, container_id=container_id)
    return result, normalized(result.out, home, container_id)


def check(row: Row, hookrun: Runtime, runc: Runtime) -> None:
    """Run a row with hookrun and, where it can, with runc: both must show what the row expects, and the same."""
    with public_directory() as place:
        found, text = run(row, hookrun, place)
        assert re.search(row.expect, found.out + found.err), found
        assert found.status == row.status, found
        if row.in_runc:
            oracle, oracle_text = run(row, runc, place)
            assert re.search(row.expect, oracle.out + oracle.err), oracle
            assert text == oracle_text, f"{text}\n--- and runc:\n{oracle_text}"
            assert found.status == oracle.status
