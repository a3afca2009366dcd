"""The race: create, start, state, delete, run, exec of hookrun beside runc and crun, and the floor of the interpreter.

    .venv/bin/python -m tests.bench.lifecycle [--rounds 60] [--markdown FILE]

hookrun runs by a registered launcher (warm, sealed), with the record on and a snapshot of 20 policies and a hook
for each stage that match none of the containers; with HOOKRUN_BENCH_PLAIN set there is no snapshot. The bundle's config is
what dockerd writes, then what `runc spec` does. All race in a mount namespace that shows cgroup v1 alone: crun refuses a
hybrid host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.bench import docker_config, stopwatch
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
        laps = {contestant.name: partial(self._live_once, contestant) for contestant in self.contestants}
        stopwatch.interleave(rounds, {**laps, "python": self._start_python})
        self.bundle.command("sleep", "1000")
        for contestant in self.contestants:
            contestant.stand("bench-exec")
        stopwatch.interleave(rounds, {c.name: partial(self._exec, c) for c in self.contestants})
        for contestant in self.contestants:
            contestant.remove("bench-exec")
        stopwatch.interleave(rounds // 4 or 1, {c.name: partial(self._force, c) for c in self.contestants})
        self._measure_memory()
        self.bundle.command("true")
        for _ in range(3):
            for contestant in self.contestants:
                self.table.add(f"a life of {PARALLEL} at a time", contestant.name, self._a_life_in_parallel(contestant))

    def _live_once(self, contestant: Contestant) -> None:
        name = "bench-life"
        parts = {"create": contestant.create(name), "state": contestant.state(name), "start": contestant.start(name)}
        contestant.wait_for_end(name)
        parts["delete"] = contestant.delete(name)
        for part, elapsed in parts.items():
            self.table.add(part, contestant.name, elapsed)
        self.table.add("lifecycle", contestant.name, parts["create"] + parts["start"] + parts["delete"])
        self.table.add("run", contestant.name, contestant.run(name))

    def _start_python(self) -> None:
        self.table.add("state", "python", stopwatch.spawn(FLOOR))

    def _exec(self, contestant: Contestant) -> None:
        self.table.add("exec", contestant.name, contestant.exec("bench-exec", "true"))

    def _force(self, contestant: Contestant) -> None:
        contestant.stand("bench-force")
        self.table.add("delete --force", contestant.name, contestant.remove("bench-force"))

    def _measure_memory(self) -> None:
        for contestant in self.contestants:
            for _ in range(3):
                words = contestant.words("create", "--bundle", str(self.bundle.path), contestant.named("bench-peak"))
                self.table.add("peak of create (KiB)", contestant.name, stopwatch.peak_kib(words))
                time.sleep(0.2)  # hookrun's gives memory back once it has waited for 50 ms
                for kind, size in stopwatch.memory_kib(contestant.init_pid("bench-peak")).items():
                    self.table.add(f"waiting init, {kind} (KiB)", contestant.name, size)
                contestant.remove("bench-peak")

    def _a_life_in_parallel(self, contestant: Contestant) -> float:
        """Milliseconds until one more is done."""
        lives = 48
        started = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            for future in [pool.submit(self._life, contestant, f"bench-{number}") for number in range(lives)]:
                future.result()
        return (time.perf_counter() - started) * 1000 / lives

    def _life(self, contestant: Contestant, name: str) -> None:
        contestant.create(name)
        contestant.start(name)
        contestant.remove(name)


def see_cgroup_v1_alone(module: str) -> None:
    """Go on with `module` in a private mount namespace without the unified hierarchy, where the host has both."""
    unified = Path("/sys/fs/cgroup/unified")
    if os.environ.get("HOOKRUN_BENCH_INSIDE") or not unified.is_mount():
        return
    script = f'umount {unified} && exec "$@"'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-m"]
    os.environ["HOOKRUN_BENCH_INSIDE"] = "1"
    os.execvp("unshare", [*words, module, *sys.argv[1:]])


def measure(rounds: int) -> str:
    """The races as Markdown tables; HOOKRUN_BENCH_PLAIN in the environment leaves the snapshot out."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    contestants: list[Contestant] = []
    try:
        bundle = Bundle(place / "bundle").write()
        contestants.append(hookrun(place, bundle, plain="HOOKRUN_BENCH_PLAIN" in os.environ))
        contestants += [runc(place, bundle), *with_crun(place, bundle)]
        plain = bundle.config
        bundle.config = docker_config.written(bundle.path)
        text = f"With the config of dockerd:\n\n{_race(contestants, bundle, rounds)}"
        bundle.config = plain
        return f"{text}\nWith that of `runc spec`:\n\n{_race(contestants, bundle, rounds)}"
    finally:
        for contestant in contestants:
            contestant.close()
        subprocess.run(
            ["umount", "-l", str(place / "state/seal")],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        shutil.rmtree(place, ignore_errors=True)


def _race(contestants: list[Contestant], bundle: Bundle, rounds: int) -> str:
    table = stopwatch.Table(["python", *(contestant.name for contestant in contestants)])
    Race(contestants, bundle, table).run(rounds)
    return table.markdown()


if __name__ == "__main__":
    see_cgroup_v1_alone("tests.bench.lifecycle")
    stopwatch.command_line(__doc__, measure, rounds=60)
