"""Many containers at once: what one more of them costs each command, with few around and with 500.

    .venv/bin/python -m tests.bench.scale [--rounds 500] [--markdown FILE]

`--rounds` is the number of containers. `list` is shown per container, all else per call: flat means that the last column
stays near 1. What grows all the same is the host's: runc's create among as many containers, and ps(1), which `ps` asks
for its table, have rows for that.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import hookrun, runc
from tests.support.bundles import Bundle

FEW = 20  # all of them are removed again before the many come
SAMPLES = 20


def measure(most: int) -> str:
    """The medians with FEW and with `most` containers as a Markdown table."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    bundle = Bundle(place / "bundle").command("sleep", "1000")
    host, peer = hookrun(place, bundle, plain=False), runc(place, bundle)
    names = [f"bench-scale-{number}" for number in range(most)]
    rows: dict[str, list[float]] = {}

    def note(row: str, action: Callable[[str], float], among: list[str]) -> None:
        rows.setdefault(row, []).append(statistics.median(action(name) for name in among[-SAMPLES:]))

    try:
        for count in (FEW, most):
            among = names[:count]
            made = [host.create(name) for name in among]
            rows.setdefault("create", []).append(statistics.median(made[-SAMPLES:]))
            note("create by runc", peer.create, among)
            peer.close()
            note("start", host.start, among)
            note("state", host.state, among)
            note(
                "ps --format json",
                lambda name: stopwatch.spawn(host.words("ps", "--format", "json", host.named(name))),
                among,
            )
            note("ps", lambda name: stopwatch.spawn(host.words("ps", host.named(name))), among)
            note("ps(1)", lambda name: stopwatch.spawn(["/usr/bin/ps", "-ef"]), among)
            listed = statistics.median(stopwatch.spawn(host.words("list")) for _ in range(SAMPLES))
            rows.setdefault("list, for each container", []).append(listed / count)
            note("delete --force", host.remove, among)
    finally:
        peer.close()
        host.close()
        subprocess.run(
            ["umount", "-l", place / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        shutil.rmtree(place, ignore_errors=True)
    lines = [f"| ms | with {FEW} | with {most} | {most} / {FEW} |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {row} | {few:.2f} | {many:.2f} | {many / few:.2f} |" for row, (few, many) in rows.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, rounds=500)
