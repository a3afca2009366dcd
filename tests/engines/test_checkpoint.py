"""Checkpoints as engines make them and start from them, with hookrun and with Debian's runc."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.conftest import IMAGE
from tests.support import criu
from tests.support.containerd import Containerd
from tests.support.cri import IMAGE as ARCHIVED
from tests.support.cri import image_archive
from tests.support.docker import Docker, running
from tests.support.generations import HERE, Machine
from tests.support.podman import Podman
from tests.support.runtimes import HOOKRUN, RUNC, Result, fresh_id, wait_for

COUNTER = ("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.05; done")
RUNTIMES = {"hookrun": str(HOOKRUN), "runc": RUNC}
FEATURE = "checkpoint and restore"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> Iterator[Path]:
    """A short directory, and a CRIU that works for whatever is started meanwhile: the machine's, if it is a later one."""
    if machine is HERE:
        monkeypatch.setenv("PATH", criu.path())
    if criu.problem():
        pytest.skip(f"CRIU does not work on this kernel: {criu.problem()}")
    directory = Path(tempfile.mkdtemp(prefix="hrd-ck-", dir="/var/tmp"))
    yield directory
    subprocess.run(["rm", "-rf", str(directory)], stdin=subprocess.DEVNULL, check=False, timeout=120)
    shutil.rmtree(directory, ignore_errors=True)


def counted(show: Callable[[], Result]) -> int:
    """Wait until the container shows a count of more than five; returns it."""
    found: list[int] = []

    def has_more() -> bool:
        text = show().out.strip()
        if text.isdigit():
            found.append(int(text))
        return bool(found) and found[-1] > 5

    wait_for(has_more, "a count")
    return found[-1]


# With containerd 2.1, as in forky, dockerd starts none from a checkpoint, whoever made it: containerd#12141.
@pytest.mark.matrix(engine="Docker", feature=FEATURE)
@pytest.mark.parametrize("machine", [HERE.release, pytest.param("trixie", marks=pytest.mark.later)], indirect=True)
def test_docker(place: Path, image_rootfs: Path, machine: Machine) -> None:
    config = place / "daemon.json"
    config.write_text(json.dumps({"experimental": True, "runtimes": {"hookrun": {"path": str(HOOKRUN)}}}))
    with running(Docker(place, config, machine=machine), image_rootfs, IMAGE) as docker:
        for runtime in RUNTIMES:
            _goes_on_in_docker(docker, runtime, fresh_id("ck"))


def _goes_on_in_docker(docker: Docker, runtime: str, name: str) -> None:
    def show() -> Result:
        return docker("exec", name, "cat", "/count")

    options = ["--runtime", runtime, "--network", "none", "--security-opt", "seccomp=unconfined"]
    docker.check("run", "--detach", "--name", name, *options, IMAGE, *COUNTER)
    counted(show)
    _check(docker, "checkpoint", "create", "--leave-running", name, "first")
    before = counted(show)
    _check(docker, "checkpoint", "create", name, "second")
    assert docker.inspect(name, "{{.State.Running}}") == "false"
    assert {line.strip() for line in docker.check("checkpoint", "ls", name).splitlines()[1:]} == {"first", "second"}
    docker.check("checkpoint", "rm", name, "first")
    _check(docker, "start", "--checkpoint", "second", name)
    assert docker.inspect(name, "{{.State.Running}}") == "true"
    assert counted(show) > before
    docker.check("rm", "--force", name)


def _check(docker: Docker, *words: str) -> None:
    """moby#42900: dockerd can't store what containerd still has of another checkpoint, until that is collected."""
    address = str(docker.directory / "exec/containerd/containerd.sock")
    listing = docker.machine.command("ctr", "--address", address, "--namespace", "moby", "content", "ls", "--quiet")

    def is_collected() -> bool:
        return not subprocess.run(
            listing, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=60
        ).stdout

    wait_for(is_collected, "containerd to collect its garbage")
    docker.check(*words)


@pytest.mark.matrix(engine="containerd, ctr", feature=FEATURE)
def test_ctr(place: Path, image_rootfs: Path, machine: Machine) -> None:
    containerd = Containerd(place, machine=machine)
    containerd.start()
    try:
        (place / "image.tar").write_bytes(image_archive(image_rootfs, *COUNTER))
        containerd.check("image", "import", "--no-unpack", str(place / "image.tar"))
        for runtime in RUNTIMES:
            _goes_on_in_ctr(containerd, runtime, fresh_id("ck"))
    finally:
        containerd.stop()


def _goes_on_in_ctr(containerd: Containerd, runtime: str, name: str) -> None:
    def show() -> Result:
        return containerd("task", "exec", "--exec-id", "e", name, "cat", "/count")

    root, images, kept = containerd.directory / "runc", containerd.directory / f"images-{runtime}", f"localhost/{name}"
    options = [
        "--snapshotter",
        "native",
        "--runc-binary",
        RUNTIMES[runtime],
        "--runc-root",
        str(root),
        "--env",
        "PATH=/bin",
    ]
    containerd.check("run", *options, "--detach", "--null-io", ARCHIVED, name)
    before = counted(show)
    containerd.check("task", "checkpoint", "--image-path", str(images), name)
    assert (images / "inventory.img").exists()
    containerd.check("container", "checkpoint", "--task", "--image", "--rw", name, kept)
    containerd.remove(name)
    containerd.check("container", "restore", "--live", "--rw", name, kept)
    assert counted(show) > before
    # What hookrun keeps of a container, and runc does not: it is the same runtime that brought it back.
    assert (root / "default" / name / "config.json").exists() == (runtime == "hookrun")
    containerd.remove(name)


@pytest.mark.matrix(engine="Podman", feature=FEATURE)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_podman(place: Path, image_rootfs: Path, runtime: str, machine: Machine) -> None:
    podman = Podman(place / "podman", RUNTIMES[runtime], machine=machine)
    try:
        podman.import_image(image_rootfs, IMAGE)
        name, archive = fresh_id("ck"), place / "archive.tar"
        podman.check("run", "--detach", "--name", name, "--network", "none", f"localhost/{IMAGE}", *COUNTER)
        show = ("exec", name, "cat", "/count")
        before = counted(lambda: podman(*show))
        podman.check("container", "checkpoint", name)
        podman.check("container", "restore", name)
        assert counted(lambda: podman(*show)) > before
        podman.check("container", "checkpoint", "--export", str(archive), name)
        podman.check("rm", "--force", name)
        podman.check("container", "restore", "--import", str(archive))
        assert counted(lambda: podman(*show)) > before
    finally:
        podman.close()
