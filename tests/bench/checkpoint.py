"""For how long a checkpoint freezes a process of 200 MB, and how long the two commands take, beside runc.

    .venv/bin/python -m tests.bench.checkpoint [--rounds 10] [--markdown FILE]

Each round saves and brings back one container of each runtime, with the same CRIU. The frozen time is CRIU's own; at
most 1.05 of runc's is wanted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from hookrun.runtime.criu import statistics
from tests.bench import stopwatch
from tests.runtime.checkpoint_support import with_python
from tests.support import criu
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, PATIENCE, RUNC, wait_for

MEGABYTES = 200
SCRIPT = f"""
import time
memory = bytearray(b"x" * ({MEGABYTES} << 20))
open("/ready", "w").close()
while True:
    time.sleep(1)
"""


class Racer:
    """A runtime with a root and a bundle of its own."""

    def __init__(self, name: str, program: str, place: Path) -> None:
        self.name = name
        self._place = place / name
        self._words = [program, "--root", str(self._place / "root")]
        self._place.mkdir()
        self._bundle = with_python(Bundle(self._place / "bundle"), SCRIPT)
        self._id = f"bench-ck-{os.getpid()}-{name}"

    def start(self) -> None:
        (self._bundle.rootfs / "ready").unlink(missing_ok=True)
        self._call("run", "--detach", "--bundle", str(self._bundle.path), self._id)
        wait_for((self._bundle.rootfs / "ready").exists, "the memory")

    def lap(self, table: stopwatch.Table) -> None:
        """One checkpoint and one restore, noted in milliseconds."""
        self.start()
        work = self._place / "work"
        where = ["--image-path", str(self._place / "images"), "--work-path", str(work)]
        table.add("checkpoint", self.name, self._call("checkpoint", *where, self._id))
        table.add("frozen", self.name, statistics.of_dump(str(work))["frozen_us"] / 1000)
        restore = ["restore", "--detach", "--bundle", str(self._bundle.path), *where, self._id]
        table.add("restore", self.name, self._call(*restore))
        self.close()

    def _call(self, *words: str) -> float:
        """Run a command whose container has /dev/null for its streams; its milliseconds. Raises CalledProcessError."""
        started = time.perf_counter()
        null = subprocess.DEVNULL
        subprocess.run([*self._words, *words], stdin=null, stdout=null, stderr=null, timeout=PATIENCE, check=True)
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        subprocess.run(
            [*self._words, "delete", "--force", self._id], capture_output=True, timeout=PATIENCE, check=False
        )
        shutil.rmtree(self._place / "images", ignore_errors=True)


def measure(rounds: int) -> str:
    """The race as a Markdown table."""
    os.environ["PATH"] = criu.path()
    # In memory: how fast a disk takes 200 MB differs more than the runtimes do.
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/dev/shm"))
    racers = [Racer("hookrun", str(HOOKRUN), place), Racer("runc", RUNC, place)]
    table = stopwatch.Table([racer.name for racer in racers], subject="hookrun")
    try:
        stopwatch.interleave(rounds, {racer.name: partial(racer.lap, table) for racer in racers})
        return table.markdown()
    finally:
        for racer in racers:
            racer.close()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, 10)
