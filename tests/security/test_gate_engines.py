"""The gate against who has an engine's API alone: what `docker`, `podman` and `ctr` can say, and the neighbours.

The forbidden file is a socket of the test's own; the policies are the library's CIS and Pod Security ones and one that
forbids that socket as `no-engine-socket` forbids the engines'.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun import policies
from tests.engines.conftest import IMAGE, docker, image_rootfs, machine  # noqa: F401
from tests.security.test_gate import Ground
from tests.support import leaks
from tests.support.configured import ConfiguredHost
from tests.support.containerd import Containerd
from tests.support.docker import Docker
from tests.support.generations import Machine
from tests.support.podman import Podman
from tests.support.runtimes import Result, fresh_id, wait_for
from tests.wrapper.decision.test_gate import in_force

LIBRARY = Path(policies.__file__).parent / "library"
RUNTIME = "hr-gate"
LOOK = ("find", "/h", "-name", "docker.sock")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    place = Path(tempfile.mkdtemp(prefix="hr-ground-", dir="/var/tmp"))
    place.chmod(0o755)
    ground = Ground(place)
    (place / "link").symlink_to(ground.run)
    (ground.directory("named/volumes/v") / "_data").symlink_to(ground.run)
    yield ground
    ground.close()
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def host(ground: Ground, machine: Machine) -> Iterator[ConfiguredHost]:  # noqa: F811
    place = Path(tempfile.mkdtemp(prefix="hr-gate-", dir="/var/tmp"))
    place.chmod(0o755)
    host = ConfiguredHost(place, machine)
    in_force(host, {"mounts": {"forbid": [{"source": str(ground.socket), "message": "no socket"}]}})
    yield host
    host.close()
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def engine(docker: Docker, host: ConfiguredHost) -> Iterator[Docker]:  # noqa: F811
    config = docker.directory / "daemon.json"
    before = json.loads(config.read_text())
    runtimes = {**before["runtimes"], RUNTIME: {"path": str(host.launcher)}}
    config.write_text(json.dumps({**before, "runtimes": runtimes}))
    docker.reload()
    wait_for(lambda: RUNTIME in docker.check("info", "--format", "{{json .Runtimes}}"), "dockerd to know the runtime")
    yield docker
    config.write_text(json.dumps(before))
    docker.reload()


def volume(engine: Docker, *options: str) -> str:
    name = fresh_id("v")
    engine.check("volume", "create", *[word for option in options for word in ("-o", option)], name)
    return name


def run(engine: Docker, *words: str) -> Result:
    name = fresh_id("g")
    try:
        return engine("run", "--rm", "--network", "none", "--name", name, "--runtime", RUNTIME, *words, IMAGE, *LOOK)
    finally:
        engine("rm", "-f", name)


DOCKER_WAYS = {
    "the socket": ["-v", "{run}/docker.sock:/h"],
    "its directory": ["-v", "{run}:/h"],
    "read-only": ["-v", "{run}:/h:ro"],
    "by /proc/self/root": ["-v", "/proc/self/root{run}:/h"],
    "by --mount": ["--mount", "type=bind,src={place}/link,dst=/h"],
    "by a link": ["-v", "{place}/link:/h"],
    "by a link named like a volume": ["-v", "{place}/named/volumes/v/_data:/h"],
    "by dots": ["-v", "{place}/good/../run/docker.sock:/h"],
    "the directory above": ["-v", "{place}:/h"],
    "the root": ["-v", "/:/h"],
    "the processes": ["-v", "/proc:/h"],
}
DOCKER_VOLUMES = {
    "o=bind": ["type=none", "o=bind", "device={run}"],
    "o=bind of a directory above": ["type=none", "o=rbind", "device={place}"],
    "an overlay": ["type=overlay", "o=lowerdir={run}:{good}", "device=overlay"],
    "an overlay by a link": ["type=overlay", "o=lowerdir={place}/link:{good}", "device=overlay"],
}


def said(words: list[str], ground: Ground) -> list[str]:
    return [word.format(run=ground.run, place=ground.place, good=ground.good) for word in words]


@pytest.mark.parametrize("way", DOCKER_WAYS)
def test_docker_users_get_no_socket(engine: Docker, ground: Ground, way: str) -> None:
    result = run(engine, *said(DOCKER_WAYS[way], ground))
    assert "docker.sock" not in result.out
    assert "policy p0: no socket" in result.err


@pytest.mark.parametrize("way", DOCKER_VOLUMES)
def test_nor_by_volumes_with_options(engine: Docker, ground: Ground, way: str) -> None:
    name = volume(engine, *said(DOCKER_VOLUMES[way], ground))
    result = run(engine, "-v", f"{name}:/h")
    engine.check("volume", "rm", name)
    assert "docker.sock" not in result.out
    assert "policy p0: no socket" in result.err


def test_dockers_harmless_neighbours(engine: Docker, ground: Ground) -> None:
    plain, of_good, in_memory = (
        volume(engine),
        volume(engine, *said(["type=none", "o=bind", "device={good}"], ground)),
        volume(engine, "type=tmpfs", "device=tmpfs"),
    )
    for words in (
        [],
        ["-v", f"{plain}:/h"],
        ["-v", f"{of_good}:/h"],
        ["-v", f"{in_memory}:/h"],
        ["-v", f"{ground.good}:/h"],
        ["-v", f"{ground.run}/app:/h"],
        ["-v", f"{ground.place}/good/file:/h"],
        ["--tmpfs", "/h"],
        ["-v", "/etc/hosts:/h"],
    ):
        result = run(engine, *words)
        assert "policy" not in result.err, words
        assert "docker.sock" not in result.out
    for name in (plain, of_good, in_memory):
        engine.check("volume", "rm", name)


def test_ctr_users_get_no_socket(host: ConfiguredHost, ground: Ground, image_rootfs: Path, machine: Machine) -> None:  # noqa: F811
    place = Path(tempfile.mkdtemp(prefix="hrctr-", dir="/var/tmp"))
    containerd = Containerd(place, machine=machine)
    try:
        containerd.start()
        for mount, is_refused in (
            (f"type=bind,src={ground.run},dst=/h,options=rbind:ro", True),
            (f"type=none,src={ground.place}/link,dst=/h,options=bind", True),
            (f"type=overlay,src=overlay,dst=/h,options=lowerdir={ground.run}", True),
            (f"type=bind,src={ground.good},dst=/h,options=rbind:ro", False),
        ):
            name = fresh_id("ctr")
            result = containerd(
                *("run", "--rm", "--runc-binary", str(host.launcher), "--rootfs", "--mount", mount),
                *(str(image_rootfs), name, *LOOK),
            )
            containerd.remove(name)
            assert "docker.sock" not in result.out, mount
            assert ("policy p0: no socket" in result.err) == is_refused, f"{mount}: {result.err}"
    finally:
        containerd.stop()
        shutil.rmtree(place)


def test_podman_users_get_no_socket(host: ConfiguredHost, ground: Ground, image_rootfs: Path, machine: Machine) -> None:  # noqa: F811
    place = Path(tempfile.mkdtemp(prefix="hrpod-", dir="/var/tmp"))
    place.chmod(0o755)
    podman = Podman(place, host.launcher, machine=machine)
    try:
        podman.import_image(image_rootfs, "localhost/gate")
        podman.check("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={ground.run}", "evil")
        for words, is_refused in (
            (["-v", f"{ground.run}:/h", "localhost/gate"], True),
            (["-v", f"{ground.place}/link:/h", "localhost/gate"], True),
            (["--mount", f"type=bind,src=/proc/self/root{ground.socket},dst=/h", "localhost/gate"], True),
            (["-v", "evil:/h", "localhost/gate"], True),
            (["-v", f"{ground.run}:/h:O", "localhost/gate"], True),
            (["--rootfs", str(ground.place)], True),
            (["-v", f"{ground.good}:/h", "localhost/gate"], False),
            (["-v", "plain:/h", "localhost/gate"], False),
            (["-v", f"{ground.good}:/h:O", "localhost/gate"], False),
        ):
            result = podman("run", "--rm", "--network", "none", *words, *LOOK)
            assert "docker.sock" not in result.out, words
            assert ("policy p0: no socket" in result.err) == is_refused, f"{words}: {result.err}"
    finally:
        podman.close()
        shutil.rmtree(place, ignore_errors=True)
    assert not [mount for mount in leaks.mounts() if mount.startswith(str(place))]
