"""What `docker run` and `docker exec` end with where a command can't be run: dockerd takes it from the runtime's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.test_docker_scenarios import Desk
from tests.support.bundles import busybox_rootfs
from tests.support.docker import DOCKER, DOCKERD, Docker
from tests.support.generations import HERE
from tests.support.runtimes import RUNC

FAILING = "failing-commands"

pytestmark = pytest.mark.skipif(not (Path(DOCKERD).exists() and Path(DOCKER).exists()), reason="needs docker")


@pytest.fixture(scope="module")
def image(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of files that can't be executed, each in its own way."""
    rootfs = busybox_rootfs(tmp_path_factory.mktemp("failing"))
    texts = {
        "plain": ("text\n", 0o644),
        "noise": ("noise, no program\n", 0o755),
        "empty": ("", 0o755),
        "no-interpreter": ("#!/nosuch\n", 0o755),
        "roots": ("#!/bin/sh\n", 0o700),
        "closed/program": ("#!/bin/sh\n", 0o755),
    }
    (rootfs / "closed").mkdir(mode=0o700)
    for name, (text, mode) in texts.items():
        (rootfs / name).write_text(text)
        (rootfs / name).chmod(mode)
    (rootfs / "dangling").symlink_to("/nosuch")
    (rootfs / "circle").symlink_to("circle")
    (rootfs / "in-file").symlink_to("/plain/x")
    docker.import_image(rootfs, FAILING)
    yield FAILING
    docker("rmi", "-f", FAILING)


CASES = {
    "not in PATH": ("IMAGE", "nosuch"),
    "no such file": ("IMAGE", "/nosuch"),
    "no such directory": ("IMAGE", "/nosuch/program"),
    "below a file": ("IMAGE", "/plain/x"),
    "not executable": ("IMAGE", "/plain"),
    "a directory": ("IMAGE", "/etc"),
    "a directory's dot": ("IMAGE", "."),
    "a relative directory": ("IMAGE", "./etc"),
    "an empty name": ("--entrypoint", "", "IMAGE", ""),
    "a blank": ("IMAGE", " "),
    "no program": ("IMAGE", "/noise"),
    "an empty file": ("IMAGE", "/empty"),
    "no interpreter": ("IMAGE", "/no-interpreter"),
    "a dangling link": ("IMAGE", "/dangling"),
    "a circle of links": ("IMAGE", "/circle"),
    "a link below a file": ("IMAGE", "/in-file"),
    "a relative link": ("IMAGE", "./dangling"),
    "another user's": ("--user", "1000", "IMAGE", "/roots"),
    "another user's in PATH": ("--user", "1000", "-e", "PATH=/closed:/", "IMAGE", "roots"),
    "in a closed directory": ("--user", "1000", "IMAGE", "/closed/program"),
    "in a closed directory in PATH": ("--user", "1000", "-e", "PATH=/closed", "IMAGE", "program"),
    "a PATH of nothing": ("-e", "PATH=", "IMAGE", "sh"),
    "a name too long": ("IMAGE", "x" * 300),
    "a path too long": ("IMAGE", "/" + "x/" * 2100),
    "no such user": ("--user", "nobody-here", "IMAGE", "true"),
    "no such group": ("--user", "0:nogroup-here", "IMAGE", "true"),
    "a working directory that is a file": ("-w", "/plain", "IMAGE", "true"),
    "a closed working directory": ("--user", "1000", "-w", "/closed", "IMAGE", "true"),
    "a file on a directory": ("-v", "/etc/hostname:/etc", "IMAGE", "true"),
    "a directory on a file": ("-v", "/var/tmp:/plain", "IMAGE", "true"),
    "no such device": ("--device", "/dev/nosuch", "IMAGE", "true"),
    "a limit too low": ("--memory", "6m", "--pids-limit", "1", "IMAGE", "sh", "-c", "true & wait"),
    "no such namespace": ("--network", "container:nosuch", "IMAGE", "true"),
    "a sysctl that is none": ("--sysctl", "net.nosuch=1", "IMAGE", "true"),
    "ulimits that can't be": ("--ulimit", "nofile=9999999999:9999999999", "IMAGE", "true"),
    "its own status": ("IMAGE", "sh", "-c", "exit 42"),
    "a signal": ("IMAGE", "sh", "-c", "kill -9 $$"),
}
QUICK = (
    "no such file",
    "not executable",
    "no program",
    "another user's in PATH",
    "a directory on a file",
    "its own status",
    "a signal",
)
IN_A_CONTAINER = [name for name, words in CASES.items() if words[0] == "IMAGE" or words[0] in ("--user", "-w")]

# Debian's runc comes from a Go whose LookPath looked at the mode alone; since Go 1.20 it asks the kernel.
WITH_NEWER_GO = {
    "run: another user's": ("status 126", 'exec: "/roots": permission denied'),
    "run: another user's in PATH": ("status 127", 'exec: "roots": executable file not found in $PATH'),
}


def test_run_and_exec_end_as_with_runc(docker: Docker, image: str, everything: bool) -> None:
    cases = CASES if everything else {name: CASES[name] for name in QUICK}
    told: dict[str, dict[str, list[str]]] = {}
    for runtime in (Path(RUNC).name, "hookrun"):
        desk = Desk(docker, runtime)
        try:
            told[runtime] = dict(outcomes(desk, image, cases))
        finally:
            desk.close()
    theirs, ours = told.values()
    for name in WITH_NEWER_GO.keys() & ours.keys() if docker.machine is HERE else ():
        (status, words), lines = WITH_NEWER_GO[name], ours.pop(name)
        assert (lines[0], words in lines[1]) == (status, True), lines
    differing = {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    assert not differing, "\n".join(f"{name}: {lines}" for name, lines in differing.items())
    assert {lines[0] for lines in theirs.values()} >= {f"status {number}" for number in (42, 126, 127, 137)}


def outcomes(desk: Desk, image: str, cases: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, list[str]]]:
    box = desk.name()
    network = ("--network", "none")
    desk.docker.check("run", "-d", "--name", box, "--runtime", desk.runtime, *network, image, "sleep", "1000")
    for name, words in cases.items():
        yield f"run: {name}", desk.told(desk.run(*(image if word == "IMAGE" else word for word in words)))
        if name in IN_A_CONTAINER:
            inside = [box if word == "IMAGE" else word for word in words]
            yield f"exec: {name}", desk.told(desk.docker("exec", *inside))
