"""What most hosts have not mounted, and what most users may not do: net_cls, net_prio, rootless without rights."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cgroup_support import kept_state, sleeping
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, PATIENCE, RUNC, Runtime, fresh_id

pytestmark = pytest.mark.skipif(not Path("/sys/fs/cgroup/devices").is_dir(), reason="this host has no v1 hierarchies")

# The host's v1 hierarchies once more in a mount namespace of their own, with net_cls and net_prio beside them.
_WRAPPER = """#!/bin/sh
set -e
test "$1" = inside || exec unshare --mount --propagation private "$0" inside "$@"
shift
hierarchies=$(awk -F: '$2 != "" && $2 !~ /^name=/ {{print $2}}' /proc/self/cgroup)
mount -t tmpfs tmpfs /sys/fs/cgroup
for hierarchy in $hierarchies net_cls net_prio; do
    mkdir -p /sys/fs/cgroup/$hierarchy
    mountpoint -q /sys/fs/cgroup/$hierarchy || mount -t cgroup -o $hierarchy cgroup /sys/fs/cgroup/$hierarchy
done
exec {} "$@"
"""


def is_free(controller: str) -> bool:
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return [controller, "0", "1"] in [[name, hierarchy, enabled] for name, hierarchy, _, enabled in lines]


def wrapped(program: Path | str, directory: Path) -> Path:
    wrapper = directory / f"net-{Path(program).name}"
    wrapper.write_text(_WRAPPER.format(program))
    wrapper.chmod(0o755)
    return wrapper


@pytest.fixture(params=[HOOKRUN, RUNC], ids=["hookrun", "runc"], name="networked")
def fixture_networked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    if not is_free("net_cls") or not is_free("net_prio"):
        pytest.skip("the kernel lacks net_cls and net_prio, or they are mounted elsewhere")
    runtime = Runtime(wrapped(request.param, tmp_path), tmp_path / "root")
    yield runtime
    runtime.delete_all()


def test_network_class_and_priorities(networked: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["type"] != "cgroup"]
    sleeping(bundle, network={"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]})
    container = networked.create(bundle.path)
    paths = kept_state(networked, container)["cgroup_paths"]
    shown = subprocess.run(
        [
            wrapped("/bin/cat", tmp_path),
            f"{paths['net_cls']}/net_cls.classid",
            f"{paths['net_prio']}/net_prio.ifpriomap",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout.splitlines()
    assert shown[0] == "1048577"
    assert "lo 5" in shown


USER = 1000


@pytest.fixture(name="users_bundle")
def fixture_users_bundle(bundle: Bundle) -> Bundle:
    """What `spec --rootless` would write, in a place that the user may use."""
    for directory in (bundle.path, *bundle.path.parents):
        if os.access(directory, os.W_OK) and str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    for directory, _, files in os.walk(bundle.path):
        for name in (directory, *(os.path.join(directory, file) for file in files)):
            os.chown(name, USER, USER, follow_symlinks=False)
    mapping = [{"containerID": 0, "hostID": USER, "size": 1}]
    bundle.linux.update({"uidMappings": mapping, "gidMappings": mapping, "resources": {}})
    bundle.linux["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup", "user")]
    bundle.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    return bundle


def as_user(runtime: Runtime, bundle: Bundle, **linux: Any) -> tuple[int, str]:
    root = bundle.path / f"root-{runtime.name}"
    if not root.exists():
        root.mkdir()
        os.chown(root, USER, USER)
    bundle.linux.update(linux)
    bundle.command("echo", "it runs")
    runtime.globals = ["--root", str(root)]
    result = runtime.call("run", "--bundle", str(bundle.path), fresh_id(), user=USER)
    return result.status, result.out + result.err


def test_rootless_goes_without_cgroups(users_bundle: Bundle, either: Runtime) -> None:
    assert as_user(either, users_bundle) == (0, "it runs\n")


def test_rootless_limits_can_not_be_had(users_bundle: Bundle, either: Runtime) -> None:
    status, out = as_user(either, users_bundle, resources={"pids": {"limit": 5}})
    assert status == 1
    assert "cannot set pids limit: container could not join or create cgroup" in out


def test_rootless_path_can_not_be_had(users_bundle: Bundle, either: Runtime) -> None:
    status, out = as_user(either, users_bundle, cgroupsPath=f"/{fresh_id()}")
    assert status == 1
    assert "permission denied" in out
