"""The config.json that dockerd writes for `docker run IMAGE true`, fit for a bundle of the bench's own."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.support.bundles import busybox_rootfs
from tests.support.docker import Docker
from tests.support.runtimes import RUNC

IMAGE = "bench:latest"
# A runtime that keeps the config and does nothing else: dockerd takes it for a container that could not be made.
KEEPER = """#!/bin/sh
while [ "$1" != --bundle ]; do shift; done
cp "$2/config.json" {place}/kept.json
exit 1
"""


def written(bundle: Path) -> dict[str, Any]:
    """What dockerd writes. What it refers to on this host is put into the directory `bundle`, or left out."""
    place = Path(tempfile.mkdtemp(prefix="hrd-", dir="/var/tmp"))
    keeper = place / "keeper"
    keeper.write_text(KEEPER.format(place=place))
    keeper.chmod(0o755)
    daemon_json = place / "daemon.json"
    daemon_json.write_text(json.dumps({"runtimes": {"keeper": {"path": str(keeper)}, "debian-runc": {"path": RUNC}}}))
    docker = Docker(place, daemon_json)
    try:
        docker.start()
        docker.import_image(busybox_rootfs(place / "rootfs"), IMAGE)
        docker("run", "--rm", "--network", "none", "--runtime", "keeper", IMAGE, "true")
        config: dict[str, Any] = json.loads((place / "kept.json").read_text())
    finally:
        docker.stop()
        shutil.rmtree(place, ignore_errors=True)
    return _of_bundle(config, bundle)


def _of_bundle(config: dict[str, Any], bundle: Path) -> dict[str, Any]:
    config["root"]["path"] = "rootfs"
    config.pop("hooks", None)  # dockerd's own, which only it can answer
    del config["linux"]["cgroupsPath"]  # each contestant has another
    for mount in config["mounts"]:
        if mount["type"] == "bind":
            source = bundle / Path(mount["source"]).name
            if Path(mount["source"]).name == "shm":
                source.mkdir(exist_ok=True)
            else:
                source.touch()
            mount["source"] = str(source)
    return config
