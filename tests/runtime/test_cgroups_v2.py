"""cgroup v2: the host's own where it has v2 alone; on a hybrid one in a mount namespace that shows v2 alone.

The controllers that v1 holds on a hybrid host (memory, cpu, pids …) are missing there; tests/vm has a host of v2 alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.cgroup_support import DENY_ALL, MIB, ROOT, UNIFIED, is_empty, kept_state, sleeping
from tests.runtime.checkpoint_support import COUNTER, Saved, checkpoint, count, restore, start, wait_for_more
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, HOOKRUN, RUNC, Runtime, fresh_id, wait_for

V2 = ROOT if UNIFIED else ROOT / "unified"
CONTROLLERS = (V2 / "cgroup.controllers").read_text().split() if V2.is_dir() else []
pytestmark = [
    pytest.mark.skipif(not V2.is_dir(), reason="this host has v1 alone"),
    pytest.mark.skipif(BY_SYSTEMD and not UNIFIED, reason="systemd itself is on v1 here, whatever it is shown"),
]
HUGE = "hugetlb.2MB.max"

_WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$0" "$@"' {} "$@"
"""


def on_v2(program: Path | str, directory: Path) -> Iterator[Runtime]:
    name = Path(program).name
    runtime = Runtime(program if UNIFIED else wrapped(program, directory), directory / f"v2-root-{name}")
    yield runtime
    runtime.delete_all()


def wrapped(program: Path | str, directory: Path) -> Path:
    wrapper = directory / f"v2-{Path(program).name}"
    wrapper.write_text(_WRAPPER.format(program))
    wrapper.chmod(0o755)
    return wrapper


@pytest.fixture(name="hookrun")
def fixture_hookrun(tmp_path: Path) -> Iterator[Runtime]:
    yield from on_v2(HOOKRUN, tmp_path)


@pytest.fixture(name="runc")
def fixture_runc(tmp_path: Path) -> Iterator[Runtime]:
    yield from on_v2(RUNC, tmp_path)


@pytest.fixture(params=["hookrun", "runc"], name="either")
def fixture_either(request: pytest.FixtureRequest) -> Runtime:
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime


@pytest.fixture(autouse=True)
def no_v1_mounts(bundle: Bundle) -> None:
    """The bundle's cgroup mount is about the host's hierarchies, which these tests hide."""
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["type"] != "cgroup"]
    bundle.write()


def cgroup(runtime: Runtime, container: str) -> Path:
    """The container's cgroup as the tests' own mount namespace shows it."""
    (path,) = kept_state(runtime, container)["cgroup_paths"].values()
    return V2 / Path(path).relative_to(ROOT)


@pytest.mark.skipif(UNIFIED, reason="test_cgroups_paths has these rows")
@pytest.mark.parametrize("path", ["", "/{id}", "{id}", "/{id}/below", "../{id}"])
def test_paths_are_those_of_runc(path: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    container = fresh_id()
    bundle.linux["cgroupsPath"] = path.format(id=container)
    sleeping(bundle)
    try:
        hookrun.create(bundle.path, container_id=container)
        ours = kept_state(hookrun, container)["cgroup_paths"]
        pid = hookrun.state(container)["pid"]
        assert (cgroup(hookrun, container) / "cgroup.procs").read_text() == f"{pid}\n"
        hookrun.delete_all()
        runc.create(bundle.path, container_id=container)
        assert ours == kept_state(runc, container)["cgroup_paths"]
    finally:
        hookrun.delete_all()
        runc.delete_all()
        if path.endswith("below"):
            (V2 / container).rmdir()


@pytest.mark.parametrize(
    "resources",
    [{"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}, {"unified": {HUGE: str(4 * MIB)}}],
    ids=["hugepageLimits", "unified"],
)
def test_limits(resources: dict[str, Any], bundle: Bundle, either: Runtime) -> None:
    if "hugetlb" not in CONTROLLERS:
        pytest.skip("v1 holds this controller")
    sleeping(bundle, **resources)
    container = either.create(bundle.path)
    assert (cgroup(either, container) / HUGE).read_text() == f"{4 * MIB}\n"


def test_unified_values_are_written_line_by_line(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, unified={"cgroup.max.descendants": "7\n5"})
    container = hookrun.create(bundle.path)
    assert (cgroup(hookrun, container) / "cgroup.max.descendants").read_text() == "5\n"


BAD = [
    ({"unified": {"a/b": "1"}}, 'unified resource \\"a/b\\" must be a file name (no slashes)'),
    ({"unified": {"nodot": "1"}}, 'unified resource \\"nodot\\" must be in the form CONTROLLER.PARAMETER'),
    (
        {"unified": {"nosuch.max": "1"}},
        'unified resource \\"nosuch.max\\" can\'t be set: controller \\"nosuch\\" not available',
    ),
    *(
        ({name: {"limit": 64 * MIB}}, f"{name}.max: no such file or directory")
        for name in ("memory", "pids")
        if name not in CONTROLLERS
    ),
    ({"memory": {"swap": 64 * MIB}}, "unable to set swap limit without memory limit"),
    ({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}, "memory+swap limit should be >= memory limit"),
]


@pytest.mark.parametrize(("resources", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_refusals(resources: dict[str, Any], message: str, bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle, **resources)
    container = fresh_id()
    result = either.call_leaving("create", "--bundle", str(bundle.path), container, output=bundle.path / "output")
    assert result.status == 1
    assert message in result.out
    assert leaks.cgroups(container) == []


def test_device_program(bundle: Bundle, either: Runtime) -> None:
    node = {"type": "c", "fileMode": 0o666, "uid": 0, "gid": 0}
    bundle.linux["devices"] = [
        {"path": "/dev/kmsg-denied", "major": 1, "minor": 11, **node},
        {"path": "/dev/zero-too", "major": 1, "minor": 5, **node},
    ]
    sleeping(bundle, devices=[*DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}])
    bundle.shell("cat /dev/kmsg-denied 2>&1; head -c 3 /dev/zero-too | wc -c; echo x 2>&1 > /dev/null && echo written")
    out = either.run(bundle.path).out.splitlines()
    assert "Operation not permitted" in out[0]
    assert [line.strip() for line in out[1:]] == ["3", "written"]


def test_everything_allowed_but_one(bundle: Bundle, either: Runtime) -> None:
    devices = [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"}]
    sleeping(bundle, devices=devices)
    bundle.shell("head -c 3 /dev/zero | wc -c; (echo x > /dev/zero) 2>&1")
    out = either.run(bundle.path).out.splitlines()
    # The container's own default rules come last, and allow /dev/zero again.
    assert out == ["3"]


def test_update_leaves_the_device_program(bundle: Bundle, either: Runtime) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/kmsg-denied", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    change = {"unified": {"cgroup.max.depth": "9"}}
    result = either.call("update", "-r", "-", container, stdin=json.dumps(change))
    assert result.status == 0, result.err
    assert (cgroup(either, container) / "cgroup.max.depth").read_text() == "9\n"
    assert "Operation not permitted" in either.exec(container, "cat", "/dev/kmsg-denied").err


def test_pause_and_resume(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    events = cgroup(either, container) / "cgroup.events"
    assert either.call("pause", container).status == 0
    assert "frozen 1" in events.read_text()
    assert either.state(container)["status"] == "paused"
    assert either.call("resume", container).status == 0
    wait_for(lambda: "frozen 0" in events.read_text(), "the cgroup to thaw")
    assert either.state(container)["status"] == "running"


def test_paused_container_can_be_killed(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    assert either.call("pause", container).status == 0
    directory = cgroup(either, container)
    assert either.call("delete", "--force", container).status == 0
    assert not directory.exists()


def test_everybody_is_killed_at_once(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle).without_namespace("pid")
    bundle.shell("sleep 1000 & sleep 1000 & exec sleep 1000")
    container = either.run_detached(bundle.path)
    procs = cgroup(either, container) / "cgroup.procs"
    wait_for(lambda: len(procs.read_text().split()) == 3, "three processes")
    inner = procs.parent / "inner"
    inner.mkdir()
    pid = either.state(container)["pid"]
    (inner / "cgroup.procs").write_text(next(p for p in procs.read_text().split() if p != str(pid)))
    assert either.call("kill", "--all", container, "KILL").status == 0
    wait_for(lambda: is_empty(procs.parent) and is_empty(inner), "everybody to be gone")
    assert either.call("delete", container).status == 0
    assert not procs.parent.exists()


def test_exec_is_born_in_the_cgroup(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    (cgroup(either, container) / "inner").mkdir()
    own = f"0::/{cgroup(either, container).relative_to(V2)}"
    for options, expected in ([], own), (["--cgroup", "inner"], f"{own}/inner"):
        pid_file = bundle.path / "pid"
        command = ("exec", "--detach", *options, "--pid-file", str(pid_file), container, "sleep", "1000")
        assert either.call_leaving(*command, output=bundle.path / "exec.output").status == 0
        assert expected in Path(f"/proc/{pid_file.read_text()}/cgroup").read_text().splitlines()


def test_exec_follows_the_init_into_a_sub_cgroup(bundle: Bundle, either: Runtime) -> None:
    """A container that hands controllers down has no processes in its own cgroup any more."""
    if "hugetlb" not in CONTROLLERS:
        pytest.skip("v1 holds every controller")
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    directory = cgroup(either, container)
    (directory / "inner").mkdir()
    (directory / "inner/cgroup.procs").write_text(str(either.state(container)["pid"]))
    (directory / "cgroup.subtree_control").write_text("+hugetlb")
    result = either.exec(container, "cat", "/proc/self/cgroup")
    assert result.status == 0, result.err
    assert f"0::/{directory.relative_to(V2)}/inner" in result.out.splitlines()


def test_stats(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle)
    ours, theirs = (_stats(runtime, runtime.run_detached(bundle.path)) for runtime in (hookrun, runc))
    assert list(ours) == list(theirs)
    assert ours["pids"] == theirs["pids"]
    assert ours["pids"]["current"] == 1
    assert ("limit" in ours["pids"]) == BY_SYSTEMD  # which gives every unit one
    assert ours["hugetlb"] == theirs["hugetlb"]
    assert ours["cpuset"] == theirs["cpuset"]
    assert set(ours["memory"]) - {"psi"} == set(theirs["memory"])
    assert set(ours["cpu"]) - {"psi"} == set(theirs["cpu"])
    for name in ("cpu", "memory", "blkio"):
        if os.path.exists(V2 / "cpu.pressure"):
            assert set(ours[name]["psi"]) == {"some", "full"}
            assert set(ours[name]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}


def _stats(runtime: Runtime, container: str) -> dict[str, Any]:
    result = runtime.call("events", "--stats", container)
    assert result.status == 0, result.err
    data: dict[str, Any] = json.loads(result.out)["data"]
    return data


@pytest.mark.usefixtures("working_criu")
def test_a_paused_container_is_saved_and_brought_back(bundle: Bundle, either: Runtime, saved: Saved) -> None:
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m")
    container = start(either, bundle.shell(COUNTER))
    wait_for_more(bundle, 3)
    place = cgroup(either, container).relative_to(V2)
    assert either.call("pause", container).status == 0
    result = checkpoint(either, container, saved)
    assert result.status == 0, result.err
    reached = count(bundle)
    restore(either, bundle, saved, container_id=container)  # runc 1.1 brings it back into its former cgroup
    assert Path(f"/proc/{either.state(container)['pid']}/cgroup").read_text().splitlines()[-1] == f"0::/{place}"
    if either.state(container)["status"] == "paused":
        assert either.call("resume", container).status == 0
    wait_for_more(bundle, reached)
