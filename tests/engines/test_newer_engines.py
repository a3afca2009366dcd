"""What engines ask of a runtime since Debian 12's: their own runc and hookrun answer alike."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.conftest import IMAGE
from tests.engines.test_docker_scenarios import Desk
from tests.support import generations
from tests.support.docker import Docker, running
from tests.support.generations import Machine
from tests.support.podman import Podman
from tests.support.runtimes import HOOKRUN, PATIENCE, RUNC, fresh_id

pytestmark = [pytest.mark.later, pytest.mark.parametrize("machine", generations.LATER, indirect=True)]

WRITE = "touch /h/x; touch /h/below/x; grep ' /h' /proc/self/mountinfo | cut -d' ' -f5,6 | sort"
ENVIRONMENT = "env | sort; ls -l /dev/cdi-null | cut -c1-10; cat /cdi-file"
DEVICE = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/thing",
    "devices": [
        {
            "name": "a",
            "containerEdits": {
                "env": ["THING=a"],
                "deviceNodes": [{"path": "/dev/cdi-null", "hostPath": "/dev/null"}],
                "mounts": [{"hostPath": "{place}/file", "containerPath": "/cdi-file", "options": ["ro", "bind"]}],
            },
        }
    ],
}

# But those that test_cgroups_rare mounts and takes away meanwhile (see tests/runtime/cgroup_support.py).
OWN_CGROUPS = "grep -v -e net_cls -e net_prio -e '^[1-9][0-9]*::' /proc/self/cgroup | cut -d: -f2- | sort"
# What is run, and its script. {place} has a mount below it, which whoever binds it recursively gets too.
DOCKER_CALLS: dict[str, tuple[list[str], str]] = {
    "recursively read-only": (
        ["--mount", "type=bind,src={place}/tree,dst=/h,readonly,bind-recursive=readonly,bind-propagation=rprivate"],
        WRITE,
    ),
    "read-only at the top": (["--mount", "type=bind,src={place}/tree,dst=/h,readonly,bind-recursive=writable"], WRITE),
    "not recursive": (["--mount", "type=bind,src={place}/tree,dst=/h,bind-recursive=disabled"], WRITE),
    "-v ...:ro": (["-v", "{place}/tree:/h:ro"], WRITE),
    "CDI": (["--device", "vendor.com/thing=a"], ENVIRONMENT),
    "an annotation": (["--annotation", "some=thing"], "echo in"),
    "an own cgroup namespace": (["--cgroupns", "private"], OWN_CGROUPS),
    "a part of a volume": (["--mount", "type=volume,src={volume},dst=/h"], "echo x >/h/x && cat /h/x"),
    "privileged": (
        ["--privileged"],
        "grep -E '^(Cap|Seccomp|NoNew)' /proc/self/status; grep -c . /proc/self/mountinfo",
    ),
    "a user namespace of the host": (["--userns", "host"], "cat /proc/self/uid_map"),
}
PODMAN_CALLS: dict[str, tuple[list[str], str]] = {
    "an idmapped volume": (
        ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "-v", "{place}/owned:/h:idmap"],
        "stat -c '%u %g' /h/file; touch /h/new && stat -c '%u %g' /h/new; cat /proc/self/uid_map",
    ),
    "recursively read-only": (["--mount", "type=bind,src={place}/tree,dst=/h,ro=recursive"], WRITE),
    "not recursive": (["--mount", "type=bind,src={place}/tree,dst=/h,bind-nonrecursive"], WRITE),
    "another user's root": (["--userns", "auto:size=1000"], "cut -c12- /proc/self/uid_map | wc -l"),
    "unmasked": (["--security-opt", "unmask=/proc/acpi:/sys/firmware"], "grep -cE '/(proc|sys)/' /proc/self/mountinfo"),
    "a umask": (["--umask", "0027"], "umask; touch /x; stat -c %a /x"),
    "an annotation": (["--annotation", "run.oci.keep_original_groups=1", "--group-add", "keep-groups"], "id -G"),
    "a device": (["--device", "/dev/null:/dev/zz:r"], "ls -l /dev/zz | cut -c1-10; echo x >/dev/zz"),
}


@pytest.fixture(scope="module")
def tree(place: Path, machine: Machine) -> Iterator[Path]:
    """A directory with another file system below it, a file and a CDI device."""
    for name in ("tree/below", "owned"):
        (place / name).mkdir(parents=True)
    (place / "owned/file").touch()
    (place / "file").write_text("of the host\n")
    below = place / "tree/below"
    script = 'mount -t tmpfs -o mode=777 tmpfs "$1" && mkdir -p /etc/cdi && printf %s "$2" >/etc/cdi/thing.json'
    device = json.dumps(DEVICE).replace("{place}", str(place))
    made = machine.command("sh", "-c", script, "sh", below, device)
    subprocess.run(made, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)
    yield place
    gone = machine.command("umount", below)
    subprocess.run(gone, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)


def told(text: str, place: Path, volume: str = "") -> str:
    return text.replace("{place}", str(place)).replace("{volume}", volume)


def differing(seen: dict[str, dict[str, object]]) -> dict[str, list[object]]:
    """What the runtimes did not answer alike."""
    first, second = seen.values()
    return {name: [first[name], second[name]] for name in first if first[name] != second[name]}


def test_docker(tree: Path, machine: Machine, image_rootfs: Path) -> None:
    directory = tree / "docker"  # what is mounted below it goes with the daemon
    directory.mkdir()
    config = directory / "daemon.json"
    config.write_text(json.dumps({"runtimes": {"hookrun": {"path": str(HOOKRUN)}}, "features": {"cdi": True}}))
    with running(Docker(directory, config, machine=machine), image_rootfs, IMAGE) as docker:
        seen: dict[str, dict[str, object]] = {}
        for runtime in ("runc", "hookrun"):
            desk = Desk(docker, runtime)
            seen[runtime] = {
                name: desk.shell(script, *(told(word, tree, desk.name()) for word in words))
                for name, (words, script) in DOCKER_CALLS.items()
            }
            desk.close()
    assert not differing(seen)
    assert "THING=a" in seen["runc"]["CDI"]  # type: ignore[operator]
    assert "/h/below" not in str(seen["runc"]["not recursive"])


def test_podman(tree: Path, machine: Machine, image_rootfs: Path) -> None:
    seen: dict[str, dict[str, object]] = {}
    for runtime in (RUNC, HOOKRUN):
        podman = Podman(tree / Path(runtime).name, runtime, machine=machine)
        try:
            podman.import_image(image_rootfs, IMAGE)
            seen[str(runtime)] = {
                name: _answer(podman, [told(word, tree) for word in words], script)
                for name, (words, script) in PODMAN_CALLS.items()
            }
        finally:
            podman.close()
    assert not differing(seen)


def _answer(podman: Podman, words: list[str], script: str) -> object:
    name = fresh_id("newer")
    result = podman(
        "run", "--rm", "--name", name, "--network", "none", *words, f"localhost/{IMAGE}", "sh", "-c", script
    )
    err = re.sub(r"^time=.*\n", "", result.err, flags=re.MULTILINE)  # the engine's own warnings, with the time of day
    return result.status, result.out, err.replace(podman.directory.name, "RUNTIME")
