"""The kubelet's checkpoint API through CRI, which containerd knows since 2.0: the one of a later Debian."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import cri as cris
from tests.support import criu
from tests.support.configured import ConfiguredHost
from tests.support.cri import RUNNING, Cri, Pod
from tests.support.generations import Machine
from tests.support.runtimes import wait_for

COUNTER = ("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done")


@pytest.fixture
def cri(place: Path, image_rootfs: Path, machine: Machine) -> Iterator[Cri]:
    """A containerd 2 by whose CRI a pod's handler `hookrun` is hookrun."""
    if criu.problem():
        pytest.skip(f"CRIU does not work on this kernel: {criu.problem()}")
    host = ConfiguredHost(place / "host", machine)
    host.apply()
    try:
        daemon = cris.daemon(place, image_rootfs, lambda config: host.register("containerd", config), machine)
        with daemon as (_, client):
            yield client
    finally:
        host.close()


def counted(pod: Pod, container: str, least: int) -> int:
    def count() -> int:
        said = pod.execute(container, "cat", "/count")[1].strip()
        return int(said) if said.isdigit() else 0

    wait_for(lambda: count() > least, f"a count above {least}")
    return count()


@pytest.mark.matrix(engine="containerd, CRI", feature="checkpoint and restore")
@pytest.mark.parametrize("machine", ["forky"], indirect=True)
def test_a_container_is_saved_and_goes_on(cri: Cri, place: Path) -> None:
    pod, archive = Pod(cri, "default"), place / "checkpoint.tar"
    try:
        container = pod.start(pod.create("main", *COUNTER))
        before = counted(pod, container, 5)
        cri("CheckpointContainer", {1: container, 2: str(archive), 3: 60})
        assert "checkpoint/inventory.img" in tarfile.open(archive).getnames()
        pod.wait_for(container, RUNNING)
        counted(pod, container, before)
    finally:
        pod.remove()
