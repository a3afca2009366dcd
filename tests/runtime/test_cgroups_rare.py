"""What most hosts have not mounted, and what most users may not do: net_cls, net_prio, rootless without rights."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cgroup_support import UNIFIED, has_controller, kept_state, path_for, sleeping, v1_only, v2_only
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, DRIVER_FLAGS, HOOKRUN, PATIENCE, RUNC, Runtime, fresh_id, wait_for

# The host's v1 hierarchies once more in a mount namespace of their own, with net_cls and net_prio beside them.
_WRAPPER = """#!/bin/sh
set -e
test "$1" = inside || exec unshare --mount --propagation private "$0" inside "$@"
shift
hierarchies=$(cut -d: -f2 /proc/self/cgroup | grep -v =)
mount -t tmpfs tmpfs /sys/fs/cgroup
for hierarchy in $hierarchies net_cls net_prio; do
    mkdir -p /sys/fs/cgroup/$hierarchy
    test -e /sys/fs/cgroup/$hierarchy/tasks || mount -t cgroup -o $hierarchy cgroup /sys/fs/cgroup/$hierarchy
done
exec {} "$@"
"""


CONTROLLERS = ("net_cls", "net_prio")


def hierarchy(controller: str) -> str:
    """Number of the hierarchy that has the controller, "0" for none, "" where the kernel lacks it."""
    lines = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
    return next((number for name, number, _, enabled in lines if (name, enabled) == (controller, "1")), "")


def dismantled(controller: str, directory: Path) -> bool:
    """Unmount the hierarchy once more, which ends it when its last cgroup is really gone."""
    point = directory / "hierarchy"
    point.mkdir(exist_ok=True)
    script = f"mount -t cgroup -o {controller} cgroup {point} && umount {point}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=True)
    return hierarchy(controller) == "0"


MOUNTED = all(has_controller(controller) for controller in CONTROLLERS)


def wrapped(program: Path | str, directory: Path) -> Path:
    """The program where it sees both controllers."""
    if MOUNTED:
        return Path(program)
    wrapper = directory / f"net-{Path(program).name}"
    wrapper.write_text(_WRAPPER.format(program))
    wrapper.chmod(0o755)
    return wrapper


@pytest.fixture(params=[HOOKRUN, RUNC], ids=["hookrun", "runc"], name="networked")
def fixture_networked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    if not all(hierarchy(controller) for controller in CONTROLLERS):
        pytest.skip("the kernel lacks net_cls and net_prio")
    were_there = [hierarchy(controller) for controller in CONTROLLERS]
    runtime = Runtime(wrapped(request.param, tmp_path), tmp_path / "root")
    yield runtime
    runtime.delete_all()
    for controller, number in zip(CONTROLLERS, were_there, strict=True):
        if number == "0":
            wait_for(functools.partial(dismantled, controller, tmp_path), f"{controller} to be unmounted", PATIENCE)


@v1_only
@pytest.mark.skipif(
    BY_SYSTEMD and not MOUNTED, reason="systemd knows nothing of hierarchies that a mount namespace has to itself"
)
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
        if directory.is_relative_to("/tmp/") and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o055)
    for place, _, files in os.walk(bundle.path):
        for path in (place, *(os.path.join(place, file) for file in files)):
            os.chown(path, USER, USER, follow_symlinks=False)
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
    runtime.globals = ["--root", str(root), *DRIVER_FLAGS]
    result = runtime.call("run", "--bundle", str(bundle.path), fresh_id(), user=USER, env={"HOME": str(root)})
    return result.status, result.out + result.err


without_systemd = pytest.mark.skipif(BY_SYSTEMD, reason="only systemd decides on what it makes")


@without_systemd
def test_rootless_goes_without_cgroups(users_bundle: Bundle, either: Runtime) -> None:
    assert as_user(either, users_bundle) == (0, "it runs\n")


@without_systemd
def test_rootless_limits_can_not_be_had(users_bundle: Bundle, either: Runtime) -> None:
    status, out = as_user(either, users_bundle, resources={"pids": {"limit": 5}})
    assert status == 1
    words = (
        "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: "
        if UNIFIED
        else "cannot set pids limit: container could not join or create cgroup"
    )
    assert words in out


@without_systemd
def test_rootless_path_can_not_be_had(users_bundle: Bundle, either: Runtime) -> None:
    status, out = as_user(either, users_bundle, cgroupsPath=path_for(fresh_id()))
    assert status == 1
    assert "permission denied" in out


@v2_only
@pytest.mark.skipif(not BY_SYSTEMD, reason="systemd is not asked")
def test_who_has_no_session_has_no_systemd_to_ask(users_bundle: Bundle, either: Runtime) -> None:
    status, out = as_user(either, users_bundle)
    assert status == 1
    assert "could not detect DBUS_SESSION_BUS_ADDRESS" in out or "failed to connect to dbus" in out
