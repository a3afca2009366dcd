"""containerd with hookrun as its runtime by `ctr run --runc-binary`: with hooks, a refusal and the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.configured import ConfiguredHost
from tests.support.containerd import CONTAINERD, CTR, Containerd
from tests.support.generations import Machine
from tests.support.runtimes import Result, fresh_id

pytestmark = pytest.mark.skipif(
    not Path(CONTAINERD).exists() or not Path(CTR).exists(), reason="needs containerd and ctr"
)

CREATED = ["prestart", "createRuntime", "createContainer", "poststart"]


@pytest.fixture(scope="module")
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    """A host whose hooks note each stage of each container, and that refuses containers with a certain label."""
    made = ConfiguredHost(place / "host", machine)
    note = made.script("note", f'cat >/dev/null; echo "$1" >>{made.log}/stages')
    for stage in (*CREATED, "poststop"):
        made.hook(f"{stage}.json", note, stage, args=["note", stage])
    made.hook(
        "refuse.json", made.script("refuse", "echo not on my host >&2; exit 1"), "precreate", commands=["^/refused$"]
    )
    made.apply()
    yield made
    made.close()


@pytest.fixture(scope="module")
def containerd(place: Path, machine: Machine) -> Iterator[Containerd]:
    daemon = Containerd(place, machine=machine)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


class Box:
    """A container's name, and how it is run."""

    def __init__(self, containerd: Containerd, host: ConfiguredHost, rootfs: Path) -> None:
        self.name = fresh_id("ctr")
        self._containerd = containerd
        self._options = ["--runc-binary", str(host.launcher), "--runc-root", str(host.state / "runc"), "--rootfs"]
        self._rootfs = str(rootfs)

    def run(self, *words: str, options: tuple[str, ...] = ()) -> Result:
        return self._containerd("run", *self._options, *options, self._rootfs, self.name, *words)


@pytest.fixture
def box(containerd: Containerd, host: ConfiguredHost, image_rootfs: Path) -> Iterator[Box]:
    made = Box(containerd, host, image_rootfs)
    (host.log / "stages").unlink(missing_ok=True)
    yield made
    containerd.remove(made.name)


def stages(host: ConfiguredHost) -> list[str]:
    return (host.log / "stages").read_text().split()


def test_run(host: ConfiguredHost, box: Box) -> None:
    result = box.run("/bin/sh", "-c", "echo out; echo err >&2; exit 7", options=("--rm",))
    assert (result.status, result.out) == (7, "out\n")
    assert "err\n" in result.err
    assert stages(host) == [*CREATED, "poststop"]
    created = next(line for line in host.lines("create") if line["container"] == box.name)
    assert created["engine"] == "containerd"
    assert sorted(hook["stage"] for hook in created["hooks"]) == sorted([*CREATED, "poststop"])
    commands = [line["command"] for line in host.lines() if line["container"] == box.name]
    assert commands[:3] == ["create", "start", "delete"]


@pytest.mark.matrix(engine="containerd, ctr", feature="stats")
def test_detached_with_exec_kill_and_remove(containerd: Containerd, host: ConfiguredHost, box: Box) -> None:
    assert box.run("/bin/sleep", "600", options=("--detach", "--env", "A=1")).status == 0
    containerd.wait_for_status(box.name, "RUNNING")
    result = containerd("task", "exec", "--exec-id", "one", box.name, "/bin/sh", "-c", "echo in $A; exit 5")
    assert (result.status, result.out) == (5, "in 1\n")
    assert box.name not in containerd.check("task", "ps", box.name)
    assert len(containerd.check("task", "ps", box.name).splitlines()) == 2
    containerd.check("task", "pause", box.name)
    containerd.wait_for_status(box.name, "PAUSED")
    containerd.check("task", "resume", box.name)
    containerd.wait_for_status(box.name, "RUNNING")
    containerd.check("task", "metrics", box.name)
    containerd.check("task", "kill", "--signal", "SIGKILL", box.name)
    containerd.wait_for_status(box.name, "STOPPED")
    assert "exit with non-zero exit code 137" in containerd("task", "rm", box.name).err
    assert stages(host) == [*CREATED, "poststop"]


def test_a_second_task_of_one_container(containerd: Containerd, box: Box) -> None:
    assert box.run("/bin/sleep", "600", options=("--detach",)).status == 0
    for _ in range(2):
        containerd.check("task", "kill", "--signal", "SIGKILL", box.name)
        containerd.wait_for_status(box.name, "STOPPED")
        containerd("task", "rm", box.name)
        containerd.check("task", "start", "--detach", box.name)
        containerd.wait_for_status(box.name, "RUNNING")


def test_a_refusal_reaches_the_user(host: ConfiguredHost, box: Box) -> None:
    result = box.run("/refused")
    assert result.status == 1
    assert (
        f"precreate filter {host.config}/refuse ({host.config}/hooks.d/refuse.json:3): exit status 1: not on my host"
        in result.err
    )


def test_a_command_that_is_not_there(box: Box) -> None:
    result = box.run("/nosuch")
    assert result.status == 1
    assert "no such file or directory" in result.err
