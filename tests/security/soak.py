"""The soak: random commands on many containers, hookrun killed at random, and at the end nothing is left.

.venv/bin/python -m tests.security.soak --minutes 60 [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hookrun.wrapper.admin import launcher
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, wait_for

CONTAINERS = 20
WORKERS = 4
KILLED_SHARE = 0.15
COMMANDS = (
    "create",
    "start",
    "exec",
    "kill",
    "delete",
    "delete --force",
    "state",
    "pause",
    "resume",
    "list",
    "ps",
    "update",
)


class Soak:
    """A host's worth of containers, and what is done to them."""

    def __init__(self, place: Path, seed: int) -> None:
        self.word = f"hr-soak-{os.getpid()}"
        self.chance = random.Random(seed)
        state = place / "state"
        state.mkdir()
        launcher.install(state, "hookrun")
        self.state = state
        self.runtime = Runtime(state / "launchers/hookrun", place / "root")
        self.bundle = Bundle(place / "bundle").shell(f": {self.word}; while :; do sleep 0.5; done")
        self.calls = 0
        self.killed = 0

    def words(self) -> list[str]:
        """A random command on a random container."""
        container = f"{self.word}-{self.chance.randrange(CONTAINERS)}"
        command, *flags = self.chance.choice(COMMANDS).split()
        if command == "create":
            return ["create", "--bundle", str(self.bundle.path), container]
        extra = {"exec": ["true"], "kill": [self.chance.choice(["TERM", "KILL", "HUP"])]}.get(command, [])
        if command == "list":
            return ["list"]
        if command == "update":
            flags = ["--pids-limit", "100"]
        return [command, *flags, container, *extra]

    def step(self, words: list[str], patience: float | None) -> None:
        """Run one command, killed after `patience` seconds where that is given."""
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [self.runtime.program, *self.runtime.globals, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                process.wait(60 if patience is None else patience)
            except subprocess.TimeoutExpired:
                if patience is not None:
                    process.send_signal(signal.SIGKILL)
                elif words[0] == "exec":  # a pause caught its process, which waits as under runc
                    self.runtime.call("resume", words[1])
                process.wait(60)
            output.seek(0)
            said = output.read().decode(errors="replace")
        if "Traceback" in said or "internal error" in said:
            raise AssertionError(f"{words}: {said}")

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(WORKERS) as pool:
            while time.monotonic() < end:
                steps = []
                for _ in range(WORKERS * 4):
                    patience = self.chance.uniform(0, 0.08) if self.chance.random() < KILLED_SHARE else None
                    self.calls += 1
                    self.killed += patience is not None
                    steps.append(pool.submit(self.step, self.words(), patience))
                for step in steps:
                    step.result()

    def clean_up(self) -> None:
        for number in range(CONTAINERS):
            result = self.runtime.call("delete", "--force", f"{self.word}-{number}")
            assert result.status == 0, result.err

    def leftovers(self, mounts: list[str]) -> list[str]:
        """What is there that was not there before."""
        wait_for(lambda: leaks.processes(self.word) == [], "the end of every process")
        found = [f"cgroup {path}" for path in leaks.cgroups(self.word)]
        # The seal is the host's, not a container's.
        found += [f"mount {path}" for path in leaks.mounts() if path not in (*mounts, str(self.state / "seal"))]
        found += [f"state {path}" for path in (self.runtime.root.iterdir() if self.runtime.root.exists() else [])]
        return found

    def recorded(self) -> int:
        """Lines of the record and its rotated files that are whole; raises ValueError for a torn one."""
        files = (self.state / "record").glob("record*.jsonl")
        return sum("argv" in json.loads(line) for path in files for line in path.read_text().splitlines())

    def close(self) -> None:
        subprocess.run(
            ["umount", "-l", self.state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )


def soak(minutes: float, seed: int) -> str:
    """Soak for some minutes; returns a summary. Raises AssertionError where something is left."""
    place = Path(tempfile.mkdtemp(prefix="hr-soak-", dir="/var/tmp"))
    place.chmod(0o755)
    (place / "bundle").mkdir()
    work = Soak(place, seed)
    try:
        work.runtime.call("list")
        mounts = leaks.mounts()
        descriptors = len(os.listdir("/proc/self/fd"))
        work.run(minutes * 60)
        work.clean_up()
        left = work.leftovers(mounts)
        assert left == [], left
        assert len(os.listdir("/proc/self/fd")) == descriptors
        lines = work.recorded()
        assert lines >= work.calls - work.killed, f"{lines} lines for {work.calls} calls, {work.killed} of them killed"
        return f"{work.calls} calls, {work.killed} of them killed, {lines} lines on record, nothing left"
    finally:
        work.clean_up()
        work.close()
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    print(soak(options.minutes, options.seed))


if __name__ == "__main__":
    main()
