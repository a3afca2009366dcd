"""Limits on a real cgroup v2, with cgroups made by hookrun itself and by systemd, side by side with runc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, RUNC, Runtime, fresh_id, wait_for

FILES = (
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "cpu.max",
    "cpu.weight",
    "cpu.idle",
    "cpuset.cpus",
    "pids.max",
    "io.weight",
    "cgroup.freeze",
)
RESOURCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "memory": {"memory": {"limit": 67108864, "reservation": 33554432, "swap": 134217728}},
    "memory without swap": {"memory": {"limit": 67108864, "swap": 67108864}},
    # Shares become a weight by a new curve since runc 1.3 (and here): 1.1.5 has the old one.
    "cpu": {"cpu": {"quota": 50000, "period": 100000}},
    "cpuset": {"cpu": {"cpus": "0"}},
    "pids": {"pids": {"limit": 33}},
    "unified": {"unified": {"memory.high": "50000000", "pids.max": "44"}},
    "devices": {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]},
}


@pytest.fixture(params=["cgroupfs", "systemd"])
def driver(request: pytest.FixtureRequest) -> list[str]:
    """The global flags of a cgroup driver."""
    return ["--systemd-cgroup"] if request.param == "systemd" else []


def path_for(driver: list[str], name: str) -> str:
    return f"system.slice:hr:{name}" if driver else f"/hr-{name}"


def cgroup_of(pid: int) -> Path:
    return Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().strip().split("::")[1])


def values(cgroup: Path) -> dict[str, str]:
    return {name: (cgroup / name).read_text().strip() for name in FILES if (cgroup / name).exists()}


@pytest.mark.parametrize("name", RESOURCES)
def test_limits_are_as_under_runc(bundle: Bundle, tmp_path: Path, driver: list[str], name: str) -> None:
    bundle.linux["resources"].update(RESOURCES[name])
    bundle.command("sleep", "1000")
    seen = []
    for program in (HOOKRUN, RUNC):
        runtime = Runtime(program, tmp_path / Path(program).name, *driver)
        container_id = fresh_id("v2")
        bundle.linux["cgroupsPath"] = path_for(driver, container_id)
        bundle.write()
        try:
            runtime.run_detached(bundle.path, container_id=container_id)
            cgroup = cgroup_of(runtime.state(container_id)["pid"])
            access = [runtime.exec(container_id, "sh", "-c", f"head -c 1 {path} > /dev/null 2>&1; echo $?").out for path in ("/dev/null", "/dev/zero")]
            seen.append((cgroup.name.replace(container_id, "ID"), values(cgroup), access))
        finally:
            runtime.delete_all()
        assert not cgroup.exists()
    assert seen[0] == seen[1]


def test_update_pause_and_events(bundle: Bundle, tmp_path: Path, driver: list[str]) -> None:
    runtime = Runtime(HOOKRUN, tmp_path / "root", *driver)
    container_id = fresh_id("v2")
    bundle.linux["cgroupsPath"] = path_for(driver, container_id)
    bundle.command("sleep", "1000")
    try:
        runtime.run_detached(bundle.path, container_id=container_id)
        cgroup = cgroup_of(runtime.state(container_id)["pid"])
        result = runtime.call("update", "--memory", "50331648", "--pids-limit", "21", "--cpu-quota", "20000", "--cpu-period", "100000", container_id)
        assert result.status == 0, result.err
        assert (cgroup / "memory.max").read_text().strip() == "50331648"
        assert (cgroup / "pids.max").read_text().strip() == "21"
        assert (cgroup / "cpu.max").read_text().strip() == "20000 100000"
        assert runtime.call("pause", container_id).status == 0
        assert runtime.state(container_id)["status"] == "paused"
        assert "frozen 1" in (cgroup / "cgroup.events").read_text()
        assert runtime.call("resume", container_id).status == 0
        assert '"limit":50331648' in runtime.call("events", "--stats", container_id).out.replace(" ", "")
        assert runtime.call("delete", "--force", container_id).status == 0
        assert not cgroup.exists()
    finally:
        runtime.delete_all()


def test_an_over_eater_is_killed(bundle: Bundle, tmp_path: Path, driver: list[str]) -> None:
    runtime = Runtime(HOOKRUN, tmp_path / "root", *driver)
    container_id = fresh_id("v2")
    bundle.linux["cgroupsPath"] = path_for(driver, container_id)
    bundle.linux["resources"]["memory"] = {"limit": 16777216, "swap": 16777216}
    bundle.shell("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived")
    result = runtime.run(bundle.path, container_id=container_id)
    assert "survived" not in result.out
    assert result.status != 0
    assert leaks.cgroups(container_id) == []


def test_devices_are_closed_and_opened_by_update_of_the_program(bundle: Bundle, tmp_path: Path, driver: list[str]) -> None:
    runtime = Runtime(HOOKRUN, tmp_path / "root", *driver)
    container_id = fresh_id("v2")
    bundle.linux["cgroupsPath"] = path_for(driver, container_id)
    bundle.linux["devices"] = [{"path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237}]
    bundle.process["capabilities"]["bounding"] = ["CAP_SYS_ADMIN"]
    bundle.shell("head -c 1 /dev/loop-control; echo $?; echo x > /dev/null; echo $?")
    result = runtime.run(bundle.path, container_id=container_id)
    assert "Operation not permitted" in result.err
    assert result.out.split() == ["1", "0"]


def test_a_scope_is_a_scope(bundle: Bundle, tmp_path: Path) -> None:
    """systemd knows the container's scope, with its description, slice and properties by annotation."""
    runtime = Runtime(HOOKRUN, tmp_path / "root", "--systemd-cgroup")
    container_id = fresh_id("scope")
    bundle.linux["cgroupsPath"] = f"system.slice:hr:{container_id}"
    bundle.config["annotations"] = {"org.systemd.property.TimeoutStopUSec": "uint64 123456789"}
    bundle.command("sleep", "1000")
    unit = f"hr-{container_id}.scope"
    try:
        runtime.run_detached(bundle.path, container_id=container_id)
        shown = os.popen(f"systemctl show {unit} -p Description,Slice,TimeoutStopUSec,Delegate,ActiveState").read()
        assert "Slice=system.slice" in shown
        assert "ActiveState=active" in shown
        assert "Delegate=yes" in shown
        assert "TimeoutStopUSec=2min 3.456789s" in shown
        assert runtime.call("delete", "--force", container_id).status == 0
        wait_for(lambda: "ActiveState=inactive" in os.popen(f"systemctl show {unit} -p ActiveState").read(), "the scope's end")
    finally:
        runtime.delete_all()
