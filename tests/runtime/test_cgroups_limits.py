"""Every field of `linux.resources` on v1: what ends up in the kernel's files, with hookrun and with runc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.runtime.cgroup_support import DENY_ALL, KIB, MIB, cgroup, sleeping, values
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, fresh_id

pytestmark = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/devices").is_dir(), reason="this host has no v1 hierarchies; tests/vm has the v2 rows"
)


class Row(NamedTuple):
    name: str
    resources: dict[str, Any]
    expected: dict[str, str]


DEVICE = next((f"{p.read_text().strip()}" for p in sorted(Path("/sys/block").glob("*/dev"))), "")
MAJOR, MINOR = (int(part) for part in DEVICE.split(":")) if DEVICE else (0, 0)


def throttle(field: str) -> dict[str, Any]:
    return {"blockIO": {field: [{"major": MAJOR, "minor": MINOR, "rate": 1048576}]}}


ROWS = [
    Row("memory limit", {"memory": {"limit": 64 * MIB}}, {"memory.limit_in_bytes": str(64 * MIB)}),
    Row(
        "memory and swap",
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(96 * MIB)},
    ),
    Row(
        "memory equal to memory and swap",
        {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(64 * MIB)},
    ),
    Row(
        "unlimited swap",
        {"memory": {"limit": 64 * MIB, "swap": -1}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": "9223372036854771712"},
    ),
    Row("unlimited memory", {"memory": {"limit": -1}}, {"memory.limit_in_bytes": "9223372036854771712"}),
    Row("reservation", {"memory": {"reservation": 32 * MIB}}, {"memory.soft_limit_in_bytes": str(32 * MIB)}),
    Row("swappiness", {"memory": {"swappiness": 13}}, {"memory.swappiness": "13"}),
    Row("swappiness 0", {"memory": {"swappiness": 0}}, {"memory.swappiness": "0"}),
    Row(
        "no OOM killer",
        {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
        {"memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0"},
    ),
    Row("kernel memory is ignored", {"memory": {"kernel": 64 * MIB}}, {"memory.limit_in_bytes": "9223372036854771712"}),
    Row("shares", {"cpu": {"shares": 512}}, {"cpu.shares": "512"}),
    Row(
        "quota and period",
        {"cpu": {"quota": 20000, "period": 50000}},
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000"},
    ),
    Row("quota alone", {"cpu": {"quota": 20000}}, {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"}),
    Row("no quota", {"cpu": {"quota": -1, "period": 50000}}, {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "50000"}),
    Row("cpus and mems", {"cpu": {"cpus": "0", "mems": "0"}}, {"cpuset.cpus": "0", "cpuset.mems": "0"}),
    Row("pids", {"pids": {"limit": 77}}, {"pids.max": "77"}),
    Row("no pids limit", {"pids": {"limit": -1}}, {"pids.max": "max"}),
    Row("no resources", {}, {"memory.limit_in_bytes": "9223372036854771712", "cpu.shares": "1024", "pids.max": "max"}),
    Row("null sections", {"memory": None, "cpu": None, "pids": None, "blockIO": None}, {"cpu.shares": "1024"}),
    *(
        Row(field, throttle(field), {name: f"{DEVICE} 1048576"})
        for field, name in (
            ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
            ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
            ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
            ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
        )
        if DEVICE
    ),
]

DEVICE_ROWS = [
    Row("the defaults", {"devices": DENY_ALL}, {}),
    Row("no rules", {"devices": None}, {}),
    Row("everything", {"devices": [{"allow": True, "access": "rwm"}]}, {}),
    Row(
        "one more",
        {"devices": [*DENY_ALL, {"allow": True, "type": "b", "major": 7, "minor": 3, "access": "wr"}]},
        {},
    ),
    Row(
        "one less",
        {
            "devices": [
                *DENY_ALL,
                {"allow": True, "type": "c", "major": 7, "access": "rw"},
                {"allow": False, "type": "c", "major": 7, "access": "w"},
            ]
        },
        {},
    ),
    Row(
        "a letter that is none", {"devices": [*DENY_ALL, {"allow": True, "type": "c", "major": 9, "access": "rx"}]}, {}
    ),
]


def compare(bundle: Bundle, hookrun: Runtime, runc: Runtime, names: list[str]) -> dict[str, str]:
    """What both runtimes leave in these files, which must be the same."""
    found = values(hookrun, hookrun.create(bundle.path), *names)
    assert found == values(runc, runc.create(bundle.path), *names)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_limits_are_in_the_kernel_as_with_runc(row: Row, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle, **row.resources)
    assert compare(bundle, hookrun, runc, list(row.expected)) == row.expected


@pytest.mark.parametrize("row", DEVICE_ROWS, ids=lambda row: row.name)
def test_device_rules_are_those_of_runc(row: Row, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle, **row.resources)
    found = compare(bundle, hookrun, runc, ["devices.list"])
    assert "c 1:3 rwm" in found["devices.list"] or found["devices.list"] == "a *:* rwm"


def test_device_rules_are_written_in_the_configs_order(bundle: Bundle, hookrun: Runtime) -> None:
    """config-linux.md: "The runtime MUST apply entries in the listed order"; crun's list shows it, runc's is sorted."""
    wanted = [("c", 10, 229, "rwm"), ("b", 8, 20, "rw"), ("b", 8, 3, "r")]
    rules = [{"allow": True, "type": kind, "major": major, "minor": minor, "access": access} for kind, major, minor, access in wanted]
    sleeping(bundle, devices=[*DENY_ALL, *rules])
    listed = (cgroup(hookrun, hookrun.create(bundle.path), "devices") / "devices.list").read_text().splitlines()
    assert listed[:3] == ["c 10:229 rwm", "b 8:20 rw", "b 8:3 r"]


def test_limit_of_tcp_buffers_which_runc_gave_up(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, memory={"kernelTCP": 50 * MIB})
    found = values(hookrun, hookrun.create(bundle.path), "memory.kmem.tcp.limit_in_bytes")
    assert found == {"memory.kmem.tcp.limit_in_bytes": str(50 * MIB)}


def test_burst_and_idle_which_old_runc_lacks(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, cpu={"quota": 20000, "period": 50000, "burst": 10000})
    container = hookrun.create(bundle.path)
    assert values(hookrun, container, "cpu.cfs_burst_us") == {"cpu.cfs_burst_us": "10000"}
    sleeping(bundle, cpu={"idle": 1})
    container = hookrun.create(bundle.path)
    assert values(hookrun, container, "cpu.idle") == {"cpu.idle": "1"}


def test_pids_limit_of_zero_is_one_as_in_runc_1_5(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, pids={"limit": 0})
    assert values(hookrun, hookrun.create(bundle.path), "pids.max") == {"pids.max": "1"}


BAD = [
    ({"cpu": {"shares": 1}}, "the minimum allowed cpu-shares is 2"),
    ({"cpu": {"quota": 1}}, 'failed to write \\"1\\": write '),
    ({"cpu": {"cpus": "4000"}}, 'failed to write \\"4000\\": write '),
    ({"cpu": {"mems": "63"}}, 'failed to write \\"63\\": write '),
    ({"memory": {"swappiness": 200}}, "invalid memory swappiness value: 200 (valid range is 0-100)"),
    ({"memory": {"limit": 64 * MIB, "swap": MIB}}, "memory.memsw.limit_in_bytes: invalid argument"),
    ({"unified": {"pids.max": "3"}}, "invalid configuration: cannot use unified on cgroup v1"),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 4001, "minor": 1, "rate": 5}]}},
        'failed to write \\"4001:1 5\\": write ',
    ),
    ({"cpu": {"realtimeRuntime": 100000, "realtimePeriod": 10}}, "cpu.rt_"),
    (
        {"rdma": {"mlx4_0": {"hcaHandles": 3}}},
        "cannot set rdma limit: container could not join or create cgroup",
    ),
    ({"devices": [{"allow": True, "access": ""}]}, "device access at 0 field cannot be empty"),
    ({"devices": [{"allow": True, "type": "q", "access": "r"}]}, 'invalid cgroup device type \\"q\\"'),
    (
        {
            "devices": [
                {"allow": True, "access": "rwm"},
                {"allow": False, "type": "c", "access": "r"},
                {"allow": True, "type": "c", "major": 7, "minor": 3, "access": "r"},
            ]
        },
        "cannot punch hole in existing wildcard rule [{99 -1 -1} r]",
    ),
]


@pytest.mark.parametrize(("resources", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_what_the_kernel_refuses_fails_as_with_runc(
    resources: dict[str, Any], message: str, bundle: Bundle, hookrun: Runtime, runc: Runtime
) -> None:
    if "rdma" in resources and Path("/sys/fs/cgroup/rdma").is_dir():
        pytest.skip("this host has the controller")
    sleeping(bundle, **resources)
    container = fresh_id()
    ours, theirs = (refusal(runtime, bundle, container) for runtime in (hookrun, runc))
    assert ours == theirs
    assert message in ours
    assert not any(Path("/sys/fs/cgroup").glob(f"*/{container}"))
    assert not (hookrun.root / container).exists()


def refusal(runtime: Runtime, bundle: Bundle, container: str) -> str:
    """The message of a `create` that must fail."""
    result = runtime.call_leaving("create", "--bundle", str(bundle.path), container, output=bundle.path / "output")
    assert result.status == 1
    return result.out.splitlines()[-1].partition("msg=")[2]


def test_memory_limit_below_what_the_init_needs(bundle: Bundle, either: Runtime) -> None:
    """It depends on how far the init is whether the limit is refused or the init killed."""
    sleeping(bundle, memory={"limit": 4 * KIB})
    result = either.call_leaving("create", "--bundle", str(bundle.path), fresh_id(), output=bundle.path / "output")
    assert result.status == 1
    refused = "unable to set memory limit to 4096 (current usage: " in result.out
    assert refused or "container init was OOM-killed (memory limit too low?)" in result.out


def test_memory_limit_acts_on_the_container(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, memory={"limit": 16 * MIB, "swap": 16 * MIB})
    bundle.shell("exec 2>/dev/null; tail /dev/zero; echo ended by $?")
    result = hookrun.run(bundle.path)
    assert result.out == "ended by 137\n"


def test_pids_limit_acts_on_the_container(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, pids={"limit": 3})
    bundle.shell("sleep 5 & sleep 5 & sleep 5 & echo not reached")
    assert "not reached" not in hookrun.run(bundle.path).out


def test_denied_device_cannot_be_opened(bundle: Bundle, either: Runtime) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/kmsg-denied", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    sleeping(bundle)
    bundle.shell("cat /dev/kmsg-denied 2>&1; head -c 2 /dev/zero | wc -c")
    out = either.run(bundle.path).out
    assert "Operation not permitted" in out
    assert out.splitlines()[-1].strip() == "2"


def test_allowed_device_can_be_opened(bundle: Bundle, either: Runtime) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/zero-too", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    sleeping(bundle, devices=[*DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}])
    bundle.shell("head -c 3 /dev/zero-too | wc -c")
    assert either.run(bundle.path).out.strip() == "3"


def test_limits_hold_before_the_container_starts(bundle: Bundle, hookrun: Runtime) -> None:
    """`create` alone has set them, and the waiting init is inside."""
    sleeping(bundle, memory={"limit": 64 * MIB}, pids={"limit": 5})
    container = hookrun.create(bundle.path)
    pid = hookrun.state(container)["pid"]
    for controller in ("memory", "pids", "devices", "cpuset", "freezer"):
        procs = (cgroup(hookrun, container, controller) / "cgroup.procs").read_text().split()
        assert str(pid) in procs
    assert str(os.getpid()) not in procs


def test_a_slow_write_of_the_device_rules_denies_the_container_nothing(bundle: Bundle, hookrun: Runtime) -> None:
    """v1 takes everything away before it allows the first device: nobody inside may need one in that moment."""
    container_id = fresh_id("slow")
    bundle.config["linux"]["cgroupsPath"] = f"/{container_id}"
    bundle.command("true")
    allow = f"/sys/fs/cgroup/devices/{container_id}/devices.allow"
    slowed = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", allow, "-e", "inject=write:delay_enter=50ms"]
    done = subprocess.run(
        [*slowed, hookrun.program, *hookrun.globals, "run", "--bundle", str(bundle.path), container_id],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
