"""One container's life under every engine: run by hookrun's own core, by runc and by crun, which it delegates to."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.conftest import IMAGE
from tests.engines.drivers import CriDriver, CrioDriver, CtrDriver, DockerDriver, Driver, PodmanDriver
from tests.support import cri as cris
from tests.support import leaks
from tests.support.configured import ConfiguredHost
from tests.support.conmon import CONMON, Crio
from tests.support.containerd import CONTAINERD, CTR, Containerd
from tests.support.cri import Cri
from tests.support.docker import DOCKERD, Docker
from tests.support.generations import Machine
from tests.support.podman import PODMAN, Podman
from tests.support.runtimes import RUNC, fresh_id, wait_for

CORE, TO_RUNC, TO_CRUN = RUNTIMES = ("hr-core", "hr-to-runc", "hr-to-crun")
POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {name: no-refused}
spec:
  deny:
    - when: {field: /process/args/0, equals: /refused}
      message: not on my host
"""
NOTE = """id=$(grep -o '"id": *"[^"]*"' | head -n 1 | cut -d '"' -f 4); echo "$1 $id" >>{log}/stages"""
# crun refuses a host on which both versions of cgroups are mounted, so it is shown the first alone.
CRUN = """#!/bin/sh
test "$1" = inside || exec unshare --mount --propagation private "$0" inside "$@"
shift
umount /sys/fs/cgroup/unified 2>/dev/null
exec {crun} "$@"
"""


@pytest.fixture(scope="module")
def delegates(place: Path) -> dict[str, str]:
    """The program that each profile delegates to."""
    crun = place / "crun"
    crun.write_text(CRUN.format(crun=shutil.which("crun")))
    crun.chmod(0o755)
    return {CORE: "", TO_RUNC: RUNC, TO_CRUN: str(crun)}


@pytest.fixture(scope="module")
def host(place: Path, delegates: dict[str, str], machine: Machine) -> Iterator[ConfiguredHost]:
    """A host with three profiles, a hook that notes the beginning and the end of containers, and a policy."""
    made = ConfiguredHost(place / "host", machine)
    profiles = {name: {"runtime": path} for name, path in delegates.items()}
    settings = {"record": {"directory": str(made.state / "record")}, "profiles": profiles}
    (made.config / "config.yaml").write_text(json.dumps(settings))
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(POLICY)
    note = made.script("note", NOTE.format(log=made.log))
    for stage in ("createRuntime", "poststop"):
        made.hook(f"{stage}.json", note, stage, args=["note", stage])
    made.apply()
    yield made
    made.close()


def register(host: ConfiguredHost, engine: str, file: Path, *options: str) -> None:
    for name in RUNTIMES:
        host.register(engine, file, "--name", name, *options)


@pytest.fixture(scope="module")
def on_docker(docker: Docker, host: ConfiguredHost) -> Iterator[DockerDriver]:
    """The shared daemon, which is told of the runtimes while it runs."""
    config = docker.directory / "daemon.json"
    before = config.read_text()
    register(host, "docker", config, "--reload")
    yield DockerDriver(docker)
    for name in RUNTIMES:
        assert (
            host.hookctl("engine", "unregister", "docker", "--file", str(config), "--name", name, "--reload").status
            == 0
        )
    assert config.read_text() == before
    assert CORE not in docker.check("info", "--format", "{{json .Runtimes}}")


@pytest.fixture(scope="module")
def containerd(
    place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine
) -> Iterator[tuple[Containerd, Cri]]:
    with cris.daemon(place, image_rootfs, lambda config: register(host, "containerd", config), machine) as made:
        yield made


@pytest.fixture(scope="module")
def on_ctr(containerd: tuple[Containerd, Cri], host: ConfiguredHost, place: Path) -> CtrDriver:
    ctr = copy.copy(containerd[0])
    ctr.namespace = "lives"
    return CtrDriver(ctr, host, place)


@pytest.fixture(scope="module")
def on_cri(containerd: tuple[Containerd, Cri]) -> CriDriver:
    return CriDriver(containerd[1])


@pytest.fixture(scope="module")
def on_podman(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[PodmanDriver]:
    """One storage, and a podman for each runtime of its containers.conf."""
    directory = place / "podman"
    podmans = {name: Podman(directory, name, machine=machine) for name in RUNTIMES}
    register(host, "podman", directory / "containers.conf")
    podmans[CORE].import_image(image_rootfs, f"localhost/{IMAGE}")
    yield PodmanDriver(podmans)
    podmans[CORE].close()


@pytest.fixture(scope="module")
def on_crio(place: Path, host: ConfiguredHost, machine: Machine) -> CrioDriver:
    directory = place / "crio"
    return CrioDriver(Crio(directory, machine), host, directory)


PROGRAMS = {
    "docker": (DOCKERD,),
    "ctr": (CONTAINERD, CTR),
    "cri": (CONTAINERD, CTR),
    "podman": (PODMAN,),
    "crio": (CONMON or "/usr/bin/conmon",),
    CORE: (),
    TO_RUNC: (RUNC,),
    TO_CRUN: ("/usr/bin/crun",),
}


def skip_without(name: str) -> None:
    missing = [path for path in PROGRAMS[name] if not Path(path).exists()]
    if missing:
        pytest.skip(f"needs {missing[0]}")


ENGINES = {
    "docker": "Docker",
    "ctr": "containerd, ctr",
    "cri": "containerd, CRI",
    "podman": "Podman",
    "crio": "CRI-O, replayed",
}
FRONTS = {
    CORE: pytest.mark.daily,
    TO_RUNC: pytest.mark.matrix(feature="in front of runc"),
    TO_CRUN: pytest.mark.matrix(feature="in front of crun"),
}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.matrix(engine=engine)) for name, engine in ENGINES.items()]
)
def driver(request: pytest.FixtureRequest, machine: Machine) -> Driver:
    """Each engine of the machine in turn."""
    skip_without(request.param)
    found: Driver = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture(params=[pytest.param(name, marks=mark) for name, mark in FRONTS.items()])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each profile in turn."""
    skip_without(request.param)
    name: str = request.param
    return name


@pytest.fixture
def name(driver: Driver, host: ConfiguredHost) -> Iterator[str]:
    """A container's name; it is gone afterwards."""
    made = fresh_id("life")
    (host.log / "stages").unlink(missing_ok=True)
    yield made
    driver.remove(made)


def stages(host: ConfiguredHost, stage: str) -> list[str]:
    """The containers for which hooks of a stage ran."""
    lines = (host.log / "stages").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(f"{stage} ")]


def is_up(driver: Driver, name: str) -> bool:
    return driver.exec(name, "ls", "/up").status == 0


@pytest.mark.matrix(feature=("create, exec, stop, restart, delete", "hooks and the record"))
def test_life(driver: Driver, runtime: str, name: str, host: ConfiguredHost, delegates: dict[str, str]) -> None:
    since = len(host.lines())
    driver.up(name, runtime)
    wait_for(lambda: is_up(driver, name), "the container to be up")
    assert driver.exec(name, "sh", "-c", "echo in; exit 5")[:2] == (5, "in\n")
    assert driver.stop(name) == 3
    driver.again(name)
    wait_for(lambda: is_up(driver, name), "the container to be up again")
    driver.remove(name)
    lives = stages(host, "createRuntime")
    wait_for(lambda: len(stages(host, "poststop")) == len(lives), "the hooks at the end")
    assert sorted(stages(host, "poststop")) == sorted(lives)
    assert len(lives) == (3 if driver.engine == "kubernetes" else 2)  # a pod has a sandbox besides
    lines = [line for line in host.lines()[since:] if line["container"] in lives]
    assert {"create", "start", "exec", "kill", "delete"} <= {line["command"] for line in lines}
    assert {line["engine"] for line in lines} == {driver.engine}
    assert {(line["profile"], line["delegate"]) for line in lines} == {(runtime, delegates[runtime])}
    creates = [line for line in lines if line["command"] == "create"]
    assert all({hook["stage"] for hook in line["hooks"]} == {"createRuntime", "poststop"} for line in creates)
    wait_for(lambda: not any(map(leaks.processes, lives)), "the monitors' end")
    assert [path for container in lives for path in leaks.cgroups(container)] == []


@pytest.mark.matrix(feature="a denial reaches the user")
def test_denial(driver: Driver, runtime: str, name: str, host: ConfiguredHost) -> None:
    told = driver.refused(name, runtime)
    assert "policy no-refused: not on my host" in told
    (call,) = re.findall(r"\(hookctl trace show ([0-9a-f]{12})\)", told)[:1]
    shown = host.hookctl("trace", "show", call).out
    assert "no-refused (enforce) denied: not on my host" in shown
