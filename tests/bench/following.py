"""What a fleet costs a call: policies by a bundle that is followed, metrics written and the record pushed, or none of it.

    .venv/bin/python -m tests.bench.following [--rounds 100] [--markdown FILE]

Both launchers have the same policies in force, one from files of its own and one from a signed bundle. What a fleet's
timer runs on a host (a look, metrics for node_exporter, a push to a collector) is run between the calls, every so many
rounds: its own time is none of a call's, what it leaves behind may be. The ratio is to be 1.02 at most.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hookrun.wrapper.admin.fleet import keys
from tests.bench import stopwatch
from tests.bench.contestants import Contestant, registered
from tests.fleet.fleets import Publisher
from tests.fleet.test_push import Receiver
from tests.fleet.web import served
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL

OF_A_TIMER = 10  # rounds between two runs of a timer


def contestant(place: Path, bundle: Bundle, settings: dict[str, object], with_policies: bool) -> Contestant:
    """A launcher named like its directory, whose record and snapshot are in there."""
    text = json.dumps({"record": {"directory": str(place / "record")}, **settings})
    launcher = registered(place, text, with_policies)
    made = Contestant(place.name, [launcher], place / "root", bundle)
    made.create("bench-warm")  # mounts the seal
    made.remove("bench-warm")
    return made


def hookctl(place: Path, *words: str | Path) -> None:
    done = subprocess.run(
        [HOOKCTL, "--config", place / "config", "--state", place / "state", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def race(contestants: list[Contestant], rounds: int, timer: Callable[[], None]) -> stopwatch.Table:
    """The calls of a life, each contestant in its turn."""
    table = stopwatch.Table([runner.name for runner in contestants], "followed")
    number = itertools.count()

    def lap(runner: Contestant) -> None:
        if next(number) % (OF_A_TIMER * len(contestants)) == 0:
            timer()
        table.add("create", runner.name, runner.create("bench-following"))
        table.add("start", runner.name, runner.start("bench-following"))
        for _ in range(3):
            table.add("state", runner.name, runner.state("bench-following"))
        table.add("exec", runner.name, runner.exec("bench-following", "true"))
        table.add("delete --force", runner.name, runner.remove("bench-following"))

    stopwatch.interleave(rounds, {runner.name: partial(lap, runner) for runner in contestants})
    return table


def measure(rounds: int) -> str:
    """The race as a Markdown table."""
    place = Path(tempfile.mkdtemp(prefix="hr-bench-", dir="/var/tmp"))
    os.environ[keys.PASSPHRASE] = "of the bench"
    contestants: list[Contestant] = []
    receiver = Receiver()
    try:
        bundle = Bundle(place / "bundle").command("sleep", "1000")
        contestants.append(contestant(place / "plain", bundle, {}, with_policies=True))
        policies = (place / "plain/config/policies.d").glob("*.yaml")
        publisher = Publisher(place / "publisher")
        publisher.publish("1.0", files={f"policies.d/{path.name}": path.read_text() for path in policies})
        publisher.promote("1.0")
        with served(publisher.public) as web, receiver.running():
            host = place / "followed"
            contestants.append(contestant(host, bundle, {"fleet": {"url": web.url}}, with_policies=False))

            def timer() -> None:
                hookctl(host, "fleet", "follow", "--root", publisher.root)
                hookctl(host, "metrics", "--textfile", place / "hookrun.prom")
                hookctl(host, "trace", "push", "--endpoint", receiver.endpoint)

            table = race(contestants, rounds, timer)
        assert receiver.spans
        return table.markdown()
    finally:
        for runner in contestants:
            runner.close()
            subprocess.run(
                ["umount", "-l", place / runner.name / "state/seal"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, rounds=100)
