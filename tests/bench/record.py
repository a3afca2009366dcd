"""What the record costs a call, and how long a million recorded calls take to be asked.

    .venv/bin/python -m tests.bench.record [--rounds 100] [--markdown FILE]

Two launchers, one with the record and one without, take turns at create and state. The record's cost is the difference
of the medians; the budget is 1 ms of a create and 0.3 ms of a state.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import Contestant, registered
from tests.support import recorded
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL

OF_A_FILE = 50_000


def contestant(place: Path, name: str, bundle: Bundle, enabled: bool) -> Contestant:
    """A launcher whose snapshot has the record on or off."""
    switch = "true" if enabled else "false"
    launcher = registered(place / name, f"record: {{enabled: {switch}, directory: {place}/{name}/record}}\n")
    made = Contestant(name, [launcher], place / name / "root", bundle)
    made.create("bench-warm")  # mounts the seal
    made.remove("bench-warm")
    return made


def race(contestants: list[Contestant], rounds: int, table: stopwatch.Table) -> None:
    def lap(runner: Contestant) -> None:
        table.add("create", runner.name, runner.create("bench-record"))
        for _ in range(3):
            table.add("state", runner.name, runner.state("bench-record"))
        runner.remove("bench-record")

    stopwatch.interleave(rounds, {runner.name: partial(lap, runner) for runner in contestants})


def ask(place: Path, count: int) -> list[str]:
    """The three answers on a record of that many calls: seconds and peak memory, as lines of a Markdown table."""
    directory = place / "million"
    recorded.write_many(directory, count, OF_A_FILE)
    ctl = [str(HOOKCTL), "--state", str(place / "none"), "trace", "--directory", str(directory)]
    started = time.perf_counter()
    subprocess.run(
        [*ctl, "prune", "--max-total", str(1 << 40), "--max-age", str(1 << 40)], stdout=subprocess.DEVNULL, check=True
    )
    lines = [
        f"\n{count:,} calls; the index is built once, in {time.perf_counter() - started:.1f} s",
        "\n| | s | peak MiB |\n| --- | ---: | ---: |",
    ]
    last = f"{(count - 7) * 2654435761 % 2**48:012x}"
    for words in (
        ["list", "--last", "20"],
        ["show", last],
        ["stats"],
        ["list", "--failed", "--last", "20"],
        ["timeline", f"{count // 14:064x}"],
    ):
        times = [stopwatch.spawn([*ctl, *words]) / 1000 for _ in range(5)]
        peak = stopwatch.peak_kib([*ctl, *words]) / 1024
        lines.append(
            f"| {words[0]} {words[1] if len(words) > 2 else ''} | {statistics.median(times):.2f} | {peak:.0f} |"
        )
    return lines


def measure(rounds: int) -> str:
    """What the record costs, and the answers on HOOKRUN_BENCH_CALLS recorded calls (a million), as Markdown tables."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    contestants: list[Contestant] = []
    try:
        bundle = Bundle(place / "bundle").command("sleep", "1000")
        for name, enabled in (("record-on", True), ("record-off", False)):
            contestants.append(contestant(place, name, bundle, enabled))
        table = stopwatch.Table([runner.name for runner in contestants], "record-on")
        race(contestants, rounds, table)
        text = table.markdown()
        for row in ("create", "state"):
            cost = (table.median(row, "record-on") or 0) - (table.median(row, "record-off") or 0)
            text += f"\nThe record costs {cost:.2f} ms of a {row}.\n"
        return text + "\n".join(ask(place, int(os.environ.get("HOOKRUN_BENCH_CALLS", "1000000")))) + "\n"
    finally:
        for runner in contestants:
            runner.close()
            seal = place / runner.name / "state/seal"
            subprocess.run(
                ["umount", "-l", str(seal)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, rounds=100)
