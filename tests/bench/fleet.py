"""Ten thousand hosts that follow one fleet: what each costs, what the server bears, and how soon all have a new version.

    unshare --net sh -c 'ip link set lo up; exec .venv/bin/python -m tests.bench.fleet [--hosts 10000]'

The client, its decisions and the server (nginx, TLS) are the real ones; the hosts' clock is not: their looks, each every
five minutes at its own moment, are made in that order, as fast as this machine's processors can. What a host does with
a version beside fetching it (checks, simulation, apply) is left out. A network namespace of one's own makes the bytes
on `lo` the fleet's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from hookrun.wrapper.admin.fleet import bundle, follow, keys, rollout
from hookrun.wrapper.admin.fleet.rollout import Gate, Stage, Track
from hookrun.wrapper.admin.fleet.standing import Held, Standing
from hookrun.wrapper.admin.host import Host
from tests.fleet.fleets import Publisher
from tests.fleet.test_whole import serve_by_nginx

INTERVAL = 300.0  # seconds between two looks of a host
_TICKS = os.sysconf("SC_CLK_TCK")


class SimulatedHost(follow.Follower):
    """A host that fetches what it is to have, and only notes that it has it."""

    def take(self, name: str, version: str, gate: Gate) -> None:
        target = self.updater.get_targetinfo(bundle.Manifest(name, version, "0", {}).file_name)
        assert target is not None
        self.standing.held = Held(name, version, bundle.digest(self.fetched(target)), time.time(), gate, ())

    def is_in_force(self, held: Held) -> bool:
        return True


def look(number: int, host: Host, source: follow.Source, standing: Standing) -> Standing:
    """One look of a host, as by a process that begins anew; returns how it stands then."""
    with patch.object(follow, "host_id", lambda: f"{number:032x}"):
        SimulatedHost(host, source, standing).run()
    return standing


class Fleet:
    """Hosts, each with its moment in the interval, in the order of these moments."""

    def __init__(self, place: Path, publisher: Publisher, url: str, ca: Path, count: int) -> None:
        self._source = follow.Source(url, publisher.root, ca=str(ca))
        self._hosts = [Host(place / str(number) / "etc", place / str(number) / "state") for number in range(count)]
        for host in self._hosts:
            host.fleet.mkdir(parents=True)
        chance = random.Random(1)
        self._moments = sorted((chance.uniform(0, INTERVAL), number) for number in range(count))
        self._standings = [Standing() for _ in self._hosts]
        self._pool = multiprocessing.Pool()

    def looks(self) -> Iterator[tuple[float, str]]:
        """Let each host look once; gives the moment of each in the interval, and the version that the host has then."""
        tasks = [(number, self._hosts[number], self._source, self._standings[number]) for _, number in self._moments]
        for (moment, number), standing in zip(self._moments, self._pool.imap(_look, tasks, chunksize=20), strict=True):
            self._standings[number] = standing
            assert standing.held is not None
            yield moment, standing.held.version

    def versions(self) -> list[str]:
        return [standing.held.version for standing in self._standings if standing.held]

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


def _look(task: tuple[int, Host, follow.Source, Standing]) -> Standing:
    return look(*task)


class Meter:
    """What a stretch of looks cost."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._start = (*self._now(), time.monotonic())
        self.looks = 0

    def _now(self) -> tuple[int, float]:
        received = next(
            int(line.split()[1])
            for line in Path("/proc/net/dev").read_text().splitlines()
            if line.strip().startswith("lo:")
        )
        fields = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        return received, (int(fields[11]) + int(fields[12])) / _TICKS

    def told(self, what: str, count: int) -> str:
        received, cpu = self._now()
        sent, before, began = self._start
        each = (received - sent) / self.looks
        share = (cpu - before) / self.looks * count / INTERVAL
        return (
            f"{what}: {self.looks} looks in {time.monotonic() - began:.0f} s; {each:.0f} bytes on the wire a look, "
            f"{each * 86400 / INTERVAL / 1e6:.2f} MB a host and day; nginx {(cpu - before) / self.looks * 1000:.2f} ms a look, "
            f"{share:.1%} of a processor for {count} hosts"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=10_000)
    count = parser.parse_args().hosts
    os.environ[keys.PASSPHRASE] = "geheim"
    place = Path(tempfile.mkdtemp(prefix="hr-fleet-", dir="/dev/shm"))
    try:
        publisher = Publisher(place / "publisher")
        for version in ("1.0", "2.0"):
            publisher.publish(version)
        publisher.promote("1.0")
        with serve_by_nginx(place, publisher.public) as (url, server):
            fleet = Fleet(place / "hosts", publisher, url, place / "ca.pem", count)
            try:
                _run(fleet, publisher, server, count)
            finally:
                fleet.close()
    finally:
        shutil.rmtree(place)


def _run(fleet: Fleet, publisher: Publisher, server: int, count: int) -> None:
    def interval(what: str, version: str = "") -> None:
        """Let one interval pass; with a version, say when 99 % of the hosts have it, from the interval's beginning on."""
        meter, have, done = Meter(server), 0, ""
        for moment, has in fleet.looks():
            meter.looks += 1
            have += has == version
            if have == -(-count * 99 // 100) and not done:
                done = f"; 99 % after {moment:.0f} s"
        print(meter.told(what, count) + done, flush=True)

    interval("the first look")
    interval("nothing new")
    publisher.set(Track("1.0", (), Stage("2.0", 0.34)), "base")
    interval("a stage of 34 %")
    staged = fleet.versions().count("2.0")
    print(
        f"the stage has {staged} of {count} hosts, {staged / count:.2%}; by tenths of the hosts' ids: {_tenths(fleet, count)}"
    )
    publisher.set(Track("2.0", ("1.0",)), "base")
    interval("for all", "2.0")
    publisher.set(Track("1.0", ()), "base")
    interval("rolled back", "1.0")
    print(f"rollout.json {len(rollout.packed({'base': Track('1.0')}))} bytes")


def _tenths(fleet: Fleet, count: int) -> str:
    size = max(1, count // 10)
    return " ".join(f"{fleet.versions()[at : at + size].count('2.0') / size:.0%}" for at in range(0, count, size))


if __name__ == "__main__":
    main()
