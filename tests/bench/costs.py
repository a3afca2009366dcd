"""What each command costs hookrun, runc and crun: instructions, milliseconds of processors, page faults, system calls.

    .venv/bin/python -m tests.bench.costs [--rounds 10] [--markdown FILE]

All processes of a command count, until it ends; the config is what dockerd writes. Counted by perf(1), which has no
instructions where a virtual machine has no counters. Less depends on what else runs than it does in a race.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from tests.bench import docker_config, stopwatch
from tests.bench.contestants import Contestant, hookrun, runc, with_crun
from tests.bench.lifecycle import see_cgroup_v1_alone
from tests.support.bundles import Bundle

EVENTS = {
    "instructions": "million instructions",
    "task-clock": "ms of processors",
    "page-faults": "page faults",
    "raw_syscalls:sys_enter": "system calls",
}
_POSTS = """\
A create's processor time, as sampled by perf's cpu-clock (Linux 6.18): page faults a third, system calls a third (a new
network namespace is a tenth of those), Python a third. Parent and child speak three times: when the rootfs is prepared,
when it is entered, when the child is about to wait.

- Page faults, most of them copies of a page for a count of references. The commands are rehearsed while the heap is
  filled, so that Python's notes about code and types are in it; the code that they run lies together, and what a call
  allocates lies together behind it. That took 230 of 2,300 off a create, 130 of 685 off a state. The clone has every page
  copied twice that both sides write to: this is what is left between hookrun and crun.
- System calls: as many as crun's. No file of Python's is opened; cgroups are entered by writing to them from inside.
- Python: code is specialized already when a call begins; seccomp programs are compiled by `hookctl apply`.
"""
_UNITS = {"instructions": 1e6}


def measure(rounds: int) -> str:
    """A table for each command, as Markdown."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    contestants: list[Contestant] = []
    try:
        bundle = Bundle(place / "bundle").write()
        bundle.config = docker_config.written(bundle.path)
        bundle.command("sleep", "1000").write()
        contestants.append(hookrun(place, bundle, plain=False))
        contestants += [runc(place, bundle), *with_crun(place, bundle)]
        table = stopwatch.Table([contestant.name for contestant in contestants])
        stopwatch.interleave(
            rounds, {contestant.name: partial(_live, table, contestant, bundle) for contestant in contestants}
        )
        return f"{table.markdown()}\n{_POSTS}"
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


def _live(table: stopwatch.Table, contestant: Contestant, bundle: Bundle) -> None:
    box = contestant.named("bench-costs")
    for command, words in {
        "create": ("create", "--bundle", str(bundle.path), box),
        "state": ("state", box),
        "start": ("start", box),
        "exec": ("exec", box, "true"),
        "delete --force": ("delete", "--force", box),
    }.items():
        for event, value in _counted(contestant.words(*words)).items():
            table.add(f"{command}, {EVENTS[event]}", contestant.name, value / _UNITS.get(event, 1))


def _counted(words: list[str]) -> dict[str, float]:
    """Each event's count while a program ran; those that this machine can't count are left out."""
    with tempfile.NamedTemporaryFile("r") as file:
        stopwatch.spawn(
            [shutil.which("perf") or "perf", "stat", "-x,", "-e", ",".join(EVENTS), "-o", file.name, *words]
        )
        fields = [line.split(",") for line in file.read().splitlines() if line.count(",") > 2]
    return {event: float(value) for value, _, event, *_ in fields if not value.startswith("<")}


if __name__ == "__main__":
    see_cgroup_v1_alone("tests.bench.costs")
    stopwatch.command_line(__doc__, measure, rounds=10)
