"""Containers whose cgroups the tests look into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

KIB, MIB = 1 << 10, 1 << 20
DENY_ALL = [{"allow": False, "access": "rwm"}]


def sleeping(bundle: Bundle, **resources: Any) -> Bundle:
    """The bundle with a container that sleeps, under these `linux.resources`."""
    bundle.linux["resources"] = {"devices": DENY_ALL, **resources}
    return bundle.command("sleep", "1000")


def kept_state(runtime: Runtime, container_id: str) -> dict[str, Any]:
    """The container's state.json."""
    state: dict[str, Any] = json.loads((runtime.root / container_id / "state.json").read_text())
    return state


def cgroup(runtime: Runtime, container_id: str, controller: str) -> Path:
    """The directory of the container's cgroup."""
    return Path(kept_state(runtime, container_id)["cgroup_paths"][controller])


def values(runtime: Runtime, container_id: str, *names: str) -> dict[str, str]:
    """What the container's v1 cgroup files hold; each name is `controller.rest`, as the file is called.

    The device rules are sorted: runc writes them in an order of its own.
    """
    found = {name: (cgroup(runtime, container_id, name.split(".")[0]) / name).read_text().strip() for name in names}
    if "devices.list" in found:
        found["devices.list"] = "\n".join(sorted(found["devices.list"].splitlines()))
    return found
