"""Containers whose cgroups the tests look into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, Runtime

KIB, MIB = 1 << 10, 1 << 20
DENY_ALL = [{"allow": False, "access": "rwm"}]

ROOT = Path("/sys/fs/cgroup")
# Whether v2 has every controller here; else v1 has them, with or without a v2 hierarchy beside.
UNIFIED = (ROOT / "cgroup.controllers").exists()
v1_only = pytest.mark.skipif(UNIFIED, reason="v1's own; this host has v2")
v2_only = pytest.mark.skipif(not UNIFIED, reason="v2's own; this host has v1")


def has_controller(name: str) -> bool:
    """Whether a limit of this controller can be set here."""
    if UNIFIED:
        return name in (ROOT / "cgroup.controllers").read_text().split()
    return (ROOT / name).is_dir()


# Hierarchies that test_cgroups_rare mounts in a namespace of its own, maybe just now: /proc/PID/cgroup names them to all.
_MADE_BY_TESTS = ("net_cls", "net_prio")


def cgroups_of(pid: int) -> list[str]:
    """A process's cgroups as `controllers:path`, sorted."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return sorted(line.partition(":")[2] for line in lines if not _is_of_tests(*line.split(":", 2)[:2]))


def _is_of_tests(number: str, controllers: str) -> bool:
    """One that is being taken away has no controllers any more; v2, whose number is 0, never has."""
    return controllers in _MADE_BY_TESTS or (controllers == "" and number != "0")


def path_for(container_id: str) -> str:
    """A `cgroupsPath` of the driver's own form."""
    return f"system.slice:hr:{container_id}" if BY_SYSTEMD else f"/{container_id}"


def relative_cgroup(container_id: str) -> str:
    """Where `path_for` leads, below the root of a hierarchy."""
    return f"system.slice/hr-{container_id}.scope" if BY_SYSTEMD else container_id


def sleeping(bundle: Bundle, **resources: Any) -> Bundle:
    """The bundle with a container that sleeps, under these `linux.resources`."""
    bundle.linux["resources"] = {"devices": DENY_ALL, **resources}
    return bundle.command("sleep", "1000")


def kept_state(runtime: Runtime, container_id: str) -> dict[str, Any]:
    """The container's state.json."""
    state: dict[str, Any] = json.loads((runtime.root / container_id / "state.json").read_text())
    return state


def cgroup(runtime: Runtime, container_id: str, controller: str = "") -> Path:
    """The directory of the container's cgroup: v2 has one for all controllers."""
    return Path(kept_state(runtime, container_id)["cgroup_paths"]["" if UNIFIED else controller])


def is_empty(directory: Path) -> bool:
    """Whether a cgroup has no processes, or has gone: systemd takes a scope away when its last process ends."""
    try:
        return not (directory / "cgroup.procs").read_text()
    except OSError:
        return True


def values(runtime: Runtime, container_id: str, *names: str) -> dict[str, str]:
    """What the container's cgroup files hold; each name is `controller.rest`, as the file is called.

    The device rules are sorted: runc writes them in an order of its own.
    """
    found = {name: (cgroup(runtime, container_id, name.split(".")[0]) / name).read_text().strip() for name in names}
    if "devices.list" in found:
        found["devices.list"] = "\n".join(sorted(found["devices.list"].splitlines()))
    return found
