"""Interleaved measurements: each round runs every contestant once, so that noise hits all alike."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Lap = Callable[[], None]


def spawn(words: list[str], cwd: str | None = None) -> float:
    """Run a program with its streams closed; returns its wall-clock milliseconds. Raises RuntimeError if it fails."""
    started = time.perf_counter()
    pid = os.posix_spawn(
        words[0],
        words,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    elapsed = (time.perf_counter() - started) * 1000
    if status:
        raise RuntimeError(f"{' '.join(words)}: exit status {status}")
    return elapsed


def peak_kib(words: list[str]) -> int:
    """The most memory that a program had resident, KiB.

    busybox starts it: the kernel counts for a process what its parent had when it forked, and this one has much.
    """
    with tempfile.TemporaryFile() as said:
        subprocess.run(
            ["/bin/busybox", "time", "-v", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            timeout=60,
            check=True,
        )
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    # busybox takes the kernel's KiB for pages.
    shown = int(next(line for line in lines if "Maximum resident set size" in line).split()[-1])
    return shown * 1024 // os.sysconf("SC_PAGE_SIZE")


def memory_kib(pid: int) -> dict[str, int]:
    """RSS, PSS and private dirty memory of a process, KiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0])
    return {"RSS": fields["Rss"], "PSS": fields["Pss"], "private dirty": fields["Private_Dirty"]}


class Table:
    """Samples by row and contestant; the median of each and its ratio to hookrun's go into the Markdown table."""

    def __init__(self, contestants: list[str], subject: str = "hookrun") -> None:
        self.contestants = contestants
        self.subject = subject
        self._samples: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, contestant: str, value: float) -> None:
        self._samples.setdefault(row, {}).setdefault(contestant, []).append(value)

    def median(self, row: str, contestant: str) -> float | None:
        samples = self._samples[row].get(contestant)
        return statistics.median(samples) if samples else None

    def ratio(self, row: str, contestant: str) -> float | None:
        """The subject's median over the contestant's."""
        ours, theirs = self.median(row, self.subject), self.median(row, contestant)
        return ours / theirs if ours is not None and theirs else None

    def markdown(self) -> str:
        others = [name for name in self.contestants if name != self.subject]
        head = ["", *self.contestants, *(f"{self.subject} / {name}" for name in others)]
        lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
        for row in self._samples:
            values = [_number(self.median(row, name), 1) for name in self.contestants]
            ratios = [_number(self.ratio(row, name), 2) for name in others]
            lines.append("| " + " | ".join([row, *values, *ratios]) + " |")
        return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def interleave(rounds: int, laps: Mapping[str, Lap]) -> None:
    """Run each lap once a round, in an order that turns with the rounds."""
    names = list(laps)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            laps[name]()


def command_line(about: str | None, measure: Callable[[int], str], rounds: int) -> None:
    """What every bench can be told: how many rounds, and where else to write its Markdown to."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    options = parser.parse_args()
    if os.geteuid():
        parser.error("the bench makes containers: run it as root")
    text = measure(options.rounds)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
