"""The race: create, start, state, delete, run, exec of hookrun beside runc and crun, and the floor of the interpreter.

    .venv/bin/python -m tests.bench.lifecycle [--rounds 60] [--plain] [--markdown FILE]

hookrun runs by a registered launcher (sealed interpreter), with the record on and a snapshot of 20 policies and a hook
for each stage that match none of the containers; `--plain` leaves the snapshot out. All race in a mount namespace that
shows cgroup v1 alone: crun refuses a hybrid host.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import Contestant, hookrun, runc, with_crun
from tests.support.bundles import Bundle

FLOOR = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
PARALLEL = 8


class Race:
    """All contestants on one bundle."""

    def __init__(self, contestants: list[Contestant], bundle: Bundle, table: stopwatch.Table) -> None:
        self.contestants = contestants
        self.bundle = bundle
        self.table = table

    def run(self, rounds: int) -> None:
        self.bundle.command("true")
        laps = {contestant.name: lambda c=contestant: self._live_once(c) for contestant in self.contestants}
        laps["python"] = lambda: self.table.add("state", "python", stopwatch.spawn(FLOOR))
        stopwatch.interleave(rounds, laps)
        self.bundle.command("sleep", "1000")
        for contestant in self.contestants:
            contestant.stand("bench-exec")
        stopwatch.interleave(
            rounds, {c.name: lambda c=c: self.table.add("exec", c.name, c.exec("bench-exec", "true")) for c in self.contestants}
        )
        for contestant in self.contestants:
            contestant.remove("bench-exec")
        stopwatch.interleave(rounds // 4 or 1, {c.name: lambda c=c: self._force(c) for c in self.contestants})
        self._measure_memory()
        self.bundle.command("true")
        for _ in range(3):
            for contestant in self.contestants:
                self.table.add(f"lives a second, {PARALLEL} at a time", contestant.name, self._lives_a_second(contestant))

    def _live_once(self, contestant: Contestant) -> None:
        name = "bench-life"
        parts = {"create": contestant.create(name), "state": contestant.state(name), "start": contestant.start(name)}
        contestant.wait_for_end(name)
        parts["delete"] = contestant.delete(name)
        for part, elapsed in parts.items():
            self.table.add(part, contestant.name, elapsed)
        self.table.add("lifecycle", contestant.name, parts["create"] + parts["start"] + parts["delete"])
        self.table.add("run", contestant.name, contestant.run(name))

    def _force(self, contestant: Contestant) -> None:
        contestant.stand("bench-force")
        self.table.add("delete --force", contestant.name, contestant.remove("bench-force"))

    def _measure_memory(self) -> None:
        for contestant in self.contestants:
            for _ in range(3):
                words = contestant.words("create", "--bundle", str(self.bundle.path), contestant.named("bench-peak"))
                self.table.add("peak of create (KiB)", contestant.name, stopwatch.peak_kib(words))
                rss, pss = stopwatch.memory_kib(contestant.init_pid("bench-peak"))
                self.table.add("waiting init, RSS (KiB)", contestant.name, rss)
                self.table.add("waiting init, PSS (KiB)", contestant.name, pss)
                contestant.remove("bench-peak")

    def _lives_a_second(self, contestant: Contestant) -> float:
        lives = 48
        started = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            for future in [pool.submit(self._life, contestant, f"bench-{number}") for number in range(lives)]:
                future.result()
        return lives / (time.perf_counter() - started)

    def _life(self, contestant: Contestant, name: str) -> None:
        contestant.create(name)
        contestant.start(name)
        contestant.remove(name)


def see_cgroup_v1_alone() -> None:
    """Go on in a private mount namespace without the unified hierarchy, where the host has both."""
    unified = Path("/sys/fs/cgroup/unified")
    if os.environ.get("HOOKRUN_BENCH_INSIDE") or not unified.is_mount():
        return
    script = f'umount {unified} && exec "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-m"]
    os.environ["HOOKRUN_BENCH_INSIDE"] = "1"
    os.execvp("unshare", [*words, "tests.bench.lifecycle", *sys.argv[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--plain", action="store_true", help="no snapshot")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("the bench makes containers: run it as root")
    see_cgroup_v1_alone()
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    try:
        bundle = Bundle(place / "bundle").write()
        contestants = [hookrun(place, bundle, plain=options.plain), runc(place, bundle), *with_crun(place, bundle)]
        table = stopwatch.Table(["python", *(contestant.name for contestant in contestants)])
        Race(contestants, bundle, table).run(options.rounds)
        print(table.markdown())
        if options.markdown:
            options.markdown.write_text(table.markdown())
    finally:
        for contestant in contestants:
            contestant.close()
        subprocess.run(["umount", "-l", str(place / "state/seal")], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
