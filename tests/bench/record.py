"""What the record costs a call, and how long a million recorded calls take to be asked.

    .venv/bin/python -m tests.bench.record [--rounds 100] [--calls 1000000] [--markdown FILE]

Two launchers, one with the record and one without, take turns at create and state. The record's cost is the difference
of the medians; the budget is 1 ms of a create and 0.3 ms of a state.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import Contestant
from tests.support import recorded
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL

OF_A_FILE = 50_000


def contestant(place: Path, name: str, bundle: Bundle, enabled: bool) -> Contestant:
    """A launcher whose snapshot has the record on or off."""
    state, config = place / name / "state", place / name / "etc"
    config.mkdir(parents=True)
    switch = "true" if enabled else "false"
    (config / "config.yaml").write_text(f"record: {{enabled: {switch}, directory: {place}/{name}/record}}\n")
    ctl = [str(HOOKCTL), "--config", str(config), "--state", str(state)]
    for words in (["apply", "--yes"], ["engine", "register", "docker", "--daemon-json", f"{place}/{name}/daemon.json"]):
        subprocess.run([*ctl, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120, check=True)
    made = Contestant(name, [str(state / "launchers/hookrun")], place / name / "root", bundle)
    made.create("bench-warm")  # mounts the seal
    made.remove("bench-warm")
    return made


def race(contestants: list[Contestant], rounds: int, table: stopwatch.Table) -> None:
    def lap(runner: Contestant) -> None:
        table.add("create", runner.name, runner.create("bench-record"))
        for _ in range(3):
            table.add("state", runner.name, runner.state("bench-record"))
        runner.remove("bench-record")

    stopwatch.interleave(rounds, {runner.name: lambda runner=runner: lap(runner) for runner in contestants})


def ask(place: Path, count: int) -> list[str]:
    """The three answers on a record of that many calls: seconds and peak memory, as lines of a Markdown table."""
    directory = place / "million"
    recorded.write_many(directory, count, OF_A_FILE)
    ctl = [str(HOOKCTL), "--state", str(place / "none"), "trace", "--directory", str(directory)]
    started = time.perf_counter()
    subprocess.run([*ctl, "prune", "--max-total", str(1 << 40), "--max-age", str(1 << 40)], stdout=subprocess.DEVNULL, check=True)
    lines = [
        f"\n{count:,} calls; the index is built once, in {time.perf_counter() - started:.1f} s",
        "\n| | s | peak MiB |\n| --- | ---: | ---: |",
    ]
    last = f"{(count - 7) * 2654435761 % 2**48:012x}"
    for words in (["list", "--last", "20"], ["show", last], ["stats"], ["list", "--failed", "--last", "20"], ["timeline", f"{count // 14:064x}"]):
        times = [stopwatch.spawn([*ctl, *words]) / 1000 for _ in range(5)]
        peak = stopwatch.peak_kib([*ctl, *words]) / 1024
        lines.append(f"| {words[0]} {words[1] if len(words) > 2 else ''} | {statistics.median(times):.2f} | {peak:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--calls", type=int, default=1_000_000, help="0 leaves the large record out")
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("the bench makes containers: run it as root")
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    contestants: list[Contestant] = []
    try:
        bundle = Bundle(place / "bundle").command("sleep", "1000")
        for name, enabled in (("record-on", True), ("record-off", False)):
            contestants.append(contestant(place, name, bundle, enabled))
        table = stopwatch.Table([runner.name for runner in contestants], "record-on")
        race(contestants, options.rounds, table)
        text = table.markdown()
        for row in ("create", "state"):
            cost = (table.median(row, "record-on") or 0) - (table.median(row, "record-off") or 0)
            text += f"\nThe record costs {cost:.2f} ms of a {row}.\n"
        if options.calls:
            text += "\n".join(ask(place, options.calls)) + "\n"
        print(text)
        if options.markdown:
            options.markdown.write_text(text)
    finally:
        for runner in contestants:
            runner.close()
            seal = place / runner.name / "state/seal"
            subprocess.run(["umount", "-l", str(seal)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
