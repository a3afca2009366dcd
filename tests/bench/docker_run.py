"""`docker run --rm IMAGE true` and `docker exec CONTAINER true`, end to end, under hookrun and under runc, by one dockerd.

.venv/bin/python -m tests.bench.docker_run [--rounds 30] [--markdown FILE]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from tests.bench import stopwatch
from tests.bench.contestants import registered
from tests.support.bundles import busybox_rootfs
from tests.support.docker import Docker
from tests.support.runtimes import RUNC

IMAGE = "bench:latest"


def measure(rounds: int) -> str:
    """The race as a Markdown table."""
    place = Path(tempfile.mkdtemp(prefix="hrd-", dir="/var/tmp"))
    docker = None
    try:
        launcher = registered(place, with_policies=True)
        config = place / "daemon.json"
        runtimes = {"hookrun": {"path": launcher}, "debian-runc": {"path": RUNC}}
        config.write_text(json.dumps({"runtimes": runtimes, "storage-driver": "overlay2"}))
        docker = Docker(place, config)
        docker.start()
        docker.import_image(busybox_rootfs(place / "rootfs"), IMAGE)
        table = stopwatch.Table(["hookrun", "debian-runc"])
        run = ["/usr/bin/docker", "--host", docker.socket, "run", "--rm", "--network", "none"]
        for name in runtimes:  # the first has the image's layers to unpack
            stopwatch.spawn([*run, "--runtime", name, IMAGE, "true"])

        def lap(name: str) -> None:
            table.add("docker run (ms)", name, stopwatch.spawn([*run, "--runtime", name, IMAGE, "true"]))

        stopwatch.interleave(rounds, {name: partial(lap, name) for name in runtimes})
        for name in runtimes:
            docker.check(
                "run",
                "--detach",
                "--network",
                "none",
                "--runtime",
                name,
                "--name",
                f"exec-{name}",
                IMAGE,
                "sleep",
                "1000",
            )
        enter = ["/usr/bin/docker", "--host", docker.socket, "exec"]

        def lap_inside(name: str) -> None:
            table.add("docker exec (ms)", name, stopwatch.spawn([*enter, f"exec-{name}", "true"]))

        stopwatch.interleave(rounds, {name: partial(lap_inside, name) for name in runtimes})
        return table.markdown()
    finally:
        if docker is not None:
            docker.stop()
        subprocess.run(
            ["umount", "-l", place / "state/seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    stopwatch.command_line(__doc__, measure, rounds=30)
