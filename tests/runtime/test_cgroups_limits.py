"""Every field of `linux.resources`: what ends up in the kernel's files, with hookrun and with runc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.runtime.cgroup_support import (
    DENY_ALL,
    KIB,
    MIB,
    ROOT,
    UNIFIED,
    cgroup,
    has_controller,
    path_for,
    relative_cgroup,
    sleeping,
    v1_only,
    v2_only,
    values,
)
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, PATIENCE, Runtime, fresh_id


class Row(NamedTuple):
    name: str
    resources: dict[str, Any]
    v1: dict[str, str]
    v2: dict[str, str]

    @property
    def expected(self) -> dict[str, str]:
        return self.v2 if UNIFIED else self.v1


def default_tasks() -> str:
    """The limit of a container that has none: systemd gives every unit one."""
    if not BY_SYSTEMD:
        return "max"
    command = ["systemctl", "show", "--property", "DefaultTasksMax", "--value"]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60).stdout.strip()


DEVICE = next((f"{p.read_text().strip()}" for p in sorted(Path("/sys/block").glob("*/dev"))), "")
MAJOR, MINOR = (int(part) for part in DEVICE.split(":")) if DEVICE else (0, 0)
V1_MOST = "9223372036854771712"


def throttle(field: str) -> dict[str, Any]:
    return {"blockIO": {field: [{"major": MAJOR, "minor": MINOR, "rate": 1048576}]}}


def io_max(limited: str) -> str:
    """The line of io.max with one of a device's limits set."""
    shown = {"rbps": "max", "wbps": "max", "riops": "max", "wiops": "max", limited: "1048576"}
    return " ".join([DEVICE, *(f"{key}={value}" for key, value in shown.items())])


HUGE_PAGES = Row(
    "huge pages",
    {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
    {"hugetlb.2MB.limit_in_bytes": str(4 * MIB)},
    {"hugetlb.2MB.max": str(4 * MIB)},
)
UNIFIED_FILES = Row(
    "files by name",
    {"unified": {"memory.high": str(48 * MIB), "pids.max": "44"}},
    {},
    {"memory.high": str(48 * MIB), "pids.max": "44"},
)
ROWS = [
    Row(
        "memory limit",
        {"memory": {"limit": 64 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB)},
        {"memory.max": str(64 * MIB)},
    ),
    Row(
        "memory and swap",
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(96 * MIB)},
        {"memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB)},
    ),
    Row(
        "memory equal to memory and swap",
        {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(64 * MIB)},
        {"memory.max": str(64 * MIB), "memory.swap.max": "0"},
    ),
    Row(
        "unlimited swap",
        {"memory": {"limit": 64 * MIB, "swap": -1}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": V1_MOST},
        {"memory.max": str(64 * MIB), "memory.swap.max": "max"},
    ),
    Row(
        "unlimited memory",
        {"memory": {"limit": -1}},
        {"memory.limit_in_bytes": V1_MOST},
        {"memory.max": "max", "memory.swap.max": "max"},
    ),
    Row(
        "reservation",
        {"memory": {"reservation": 32 * MIB}},
        {"memory.soft_limit_in_bytes": str(32 * MIB)},
        {"memory.low": str(32 * MIB)},
    ),
    Row("swappiness", {"memory": {"swappiness": 13}}, {"memory.swappiness": "13"}, {"memory.max": "max"}),
    Row("swappiness 0", {"memory": {"swappiness": 0}}, {"memory.swappiness": "0"}, {"memory.max": "max"}),
    Row(
        "no OOM killer",
        {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
        {"memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0"},
        {"memory.max": str(64 * MIB), "memory.oom.group": "0"},
    ),
    Row(
        "kernel memory is ignored",
        {"memory": {"kernel": 64 * MIB}},
        {"memory.limit_in_bytes": V1_MOST},
        {"memory.max": "max"},
    ),
    Row(
        "quota and period",
        {"cpu": {"quota": 20000, "period": 50000}},
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000"},
        {"cpu.max": "20000 50000"},
    ),
    Row(
        "quota alone",
        {"cpu": {"quota": 20000}},
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"},
        {"cpu.max": "20000 100000"},
    ),
    Row(
        "no quota",
        {"cpu": {"quota": -1, "period": 50000}},
        {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "50000"},
        {"cpu.max": "max 50000"},
    ),
    Row("cpus and mems", {"cpu": {"cpus": "0", "mems": "0"}}, *({"cpuset.cpus": "0", "cpuset.mems": "0"},) * 2),
    Row("pids", {"pids": {"limit": 77}}, *({"pids.max": "77"},) * 2),
    Row("no pids limit", {"pids": {"limit": -1}}, *({"pids.max": "max"},) * 2),
    Row(
        "no resources",
        {},
        {"memory.limit_in_bytes": V1_MOST, "cpu.shares": "1024", "pids.max": default_tasks()},
        {"memory.max": "max", "cpu.weight": "100", "pids.max": default_tasks()},
    ),
    Row(
        "null sections",
        {"memory": None, "cpu": None, "pids": None, "blockIO": None},
        {"cpu.shares": "1024"},
        {"cpu.weight": "100"},
    ),
    *(
        Row(field, throttle(field), {name: f"{DEVICE} 1048576"}, {"io.max": io_max(key)})
        for field, name, key in (
            ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
            ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
            ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
            ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
        )
        if DEVICE
    ),
    *([HUGE_PAGES] if has_controller("hugetlb") else []),
    *([UNIFIED_FILES] if UNIFIED else []),
    # On v2 they are a weight, by a curve that was another before runc 1.3.
    *([] if UNIFIED else [Row("shares", {"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {})]),
]

DEVICE_ROWS: dict[str, list[dict[str, Any]] | None] = {
    "the defaults": DENY_ALL,
    "no rules": None,
    "everything": [{"allow": True, "access": "rwm"}],
    "one more": [*DENY_ALL, {"allow": True, "type": "b", "major": 7, "minor": 3, "access": "wr"}],
    "one less": [
        *DENY_ALL,
        {"allow": True, "type": "c", "major": 7, "access": "rw"},
        {"allow": False, "type": "c", "major": 7, "access": "w"},
    ],
    "a letter that is none": [*DENY_ALL, {"allow": True, "type": "c", "major": 9, "access": "rx"}],
}


def compare(bundle: Bundle, hookrun: Runtime, runc: Runtime, names: list[str]) -> dict[str, str]:
    """What both runtimes leave in these files, which must be the same."""
    found = values(hookrun, hookrun.create(bundle.path), *names)
    assert found == values(runc, runc.create(bundle.path), *names)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_limits_are_in_the_kernel_as_with_runc(row: Row, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle, **row.resources)
    assert compare(bundle, hookrun, runc, list(row.expected)) == row.expected


@v1_only
@pytest.mark.parametrize("row", DEVICE_ROWS)
def test_device_rules_are_those_of_runc(row: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle, devices=DEVICE_ROWS[row])
    found = compare(bundle, hookrun, runc, ["devices.list"])
    assert "c 1:3 rwm" in found["devices.list"] or found["devices.list"] == "a *:* rwm"


# Nodes of devices that need not exist: who may open one is told ENXIO, who may not EPERM.
NODES = [("c", 1, 3), ("c", 10, 99), ("c", 7, 1), ("c", 9, 5), ("c", 136, 9), ("b", 7, 3), ("b", 7, 4)]
PROBE = """for node in /dev/probe-*; do for mode in '<' '>'; do
    eval ": $mode $node" 2>&1 | grep -q 'not permitted' && echo "$node $mode denied" || echo "$node $mode allowed"
done; done
for node in 'c 1 3' 'c 1 11' 'b 7 3'; do mknod /tmp/node $node 2> /dev/null && echo "$node made" && rm /tmp/node; done; true"""


@pytest.mark.parametrize("row", DEVICE_ROWS)
def test_device_rules_act_as_those_of_runc(row: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.linux["devices"] = [
        {"path": f"/dev/probe-{kind}-{major}-{minor}", "type": kind, "major": major, "minor": minor, "fileMode": 0o666}
        for kind, major, minor in NODES
    ]
    bundle.process["capabilities"]["bounding"] = bundle.process["capabilities"]["effective"] = ["CAP_MKNOD"]
    bundle.process["capabilities"]["permitted"] = ["CAP_MKNOD"]
    sleeping(bundle, devices=DEVICE_ROWS[row]).shell(PROBE)
    ours, theirs = (runtime.run(bundle.path) for runtime in (hookrun, runc))
    assert (ours.status, ours.out) == (0, theirs.out), ours
    assert "/dev/probe-c-1-3 > allowed" in ours.out
    assert ("denied" in ours.out) == (row != "everything")


@v1_only
@pytest.mark.skipif(BY_SYSTEMD, reason="systemd writes them first, in its own order")
def test_device_rules_are_written_in_the_configs_order(bundle: Bundle, hookrun: Runtime) -> None:
    """config-linux.md: "The runtime MUST apply entries in the listed order"; crun's list shows it, runc's is sorted."""
    wanted = [("c", 10, 229, "rwm"), ("b", 8, 20, "rw"), ("b", 8, 3, "r")]
    rules = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
        for kind, major, minor, access in wanted
    ]
    sleeping(bundle, devices=[*DENY_ALL, *rules])
    listed = (cgroup(hookrun, hookrun.create(bundle.path), "devices") / "devices.list").read_text().splitlines()
    assert listed[:3] == ["c 10:229 rwm", "b 8:20 rw", "b 8:3 r"]


@pytest.mark.skipif(not BY_SYSTEMD, reason="without systemd the quota is what the config says")
@pytest.mark.parametrize(("quota", "taken"), [(1, 1000), (33333, 34000)])
def test_a_quota_is_rounded_up_to_systemds_hundredths_as_in_runc_1_4(
    quota: int, taken: int, bundle: Bundle, hookrun: Runtime
) -> None:
    sleeping(bundle, cpu={"quota": quota, "period": 100000})
    name, text = ("cpu.max", f"{taken} 100000") if UNIFIED else ("cpu.cfs_quota_us", str(taken))
    assert values(hookrun, hookrun.create(bundle.path), name) == {name: text}


@v2_only
def test_shares_are_a_weight_by_the_curve_of_runc_1_3(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, cpu={"shares": 512})
    assert values(hookrun, hookrun.create(bundle.path), "cpu.weight") == {"cpu.weight": "59"}


@v1_only
def test_limit_of_tcp_buffers_which_runc_gave_up(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, memory={"kernelTCP": 50 * MIB})
    found = values(hookrun, hookrun.create(bundle.path), "memory.kmem.tcp.limit_in_bytes")
    assert found == {"memory.kmem.tcp.limit_in_bytes": str(50 * MIB)}


def test_burst_and_idle_which_old_runc_lacks(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, cpu={"quota": 20000, "period": 50000, "burst": 10000})
    container = hookrun.create(bundle.path)
    burst = "cpu.max.burst" if UNIFIED else "cpu.cfs_burst_us"
    assert values(hookrun, container, burst) == {burst: "10000"}
    sleeping(bundle, cpu={"idle": 1})
    container = hookrun.create(bundle.path)
    assert values(hookrun, container, "cpu.idle") == {"cpu.idle": "1"}


@pytest.mark.skipif(not has_controller("hugetlb"), reason="this host has no hugetlb cgroups")
def test_reserved_huge_pages_are_limited_as_in_runc_1_2(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}])
    name = "hugetlb.2MB.rsvd.max" if UNIFIED else "hugetlb.2MB.rsvd.limit_in_bytes"
    assert values(hookrun, hookrun.create(bundle.path), name) == {name: str(4 * MIB)}


def test_pids_limit_of_zero_is_one_as_in_runc_1_5(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, pids={"limit": 0})
    assert values(hookrun, hookrun.create(bundle.path), "pids.max") == {"pids.max": "1"}


BAD_ANYWHERE: list[tuple[dict[str, Any], str]] = [
    ({"cpu": {"cpus": "4000"}}, 'failed to write \\"4000\\": write '),
    ({"cpu": {"mems": "63"}}, 'failed to write \\"63\\": write '),
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
    *(
        ({resource: limits}, f"cannot set {controller} limit: container could not join or create cgroup")
        for resource, limits, controller in (
            ("rdma", {"mlx4_0": {"hcaHandles": 3}}, "rdma"),
            ("hugepageLimits", [{"pageSize": "2MB", "limit": 4 * MIB}], "hugetlb"),
        )
        if not has_controller(controller)
    ),
    # No machine of these tests has such an adapter.
    *([({"rdma": {"mlx4_0": {"hcaHandles": 3}}}, "rdma.max: no such device")] if has_controller("rdma") else []),
]
BAD_ON_V1: list[tuple[dict[str, Any], str]] = [
    ({"memory": {"swappiness": 200}}, "invalid memory swappiness value: 200 (valid range is 0-100)"),
    ({"memory": {"limit": 64 * MIB, "swap": MIB}}, "memory.memsw.limit_in_bytes: invalid argument"),
    ({"unified": {"pids.max": "3"}}, "invalid configuration: cannot use unified on cgroup v1"),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 4001, "minor": 1, "rate": 5}]}},
        'failed to write \\"4001:1 5\\": write ',
    ),
]
BAD_ON_V2: list[tuple[dict[str, Any], str]] = [
    ({"memory": {"limit": 64 * MIB, "swap": MIB}}, "memory+swap limit should be >= memory limit"),
    ({"memory": {"swap": MIB}}, "unable to set swap limit without memory limit"),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 4001, "minor": 1, "rate": 5}]}},
        'failed to write \\"4001:1 rbps=5\\": write ',
    ),
]
# systemd rounds a quota up, has a word of its own on shares, and runc sets real time later for it.
BAD_WITHOUT_SYSTEMD: list[tuple[dict[str, Any], str]] = [
    ({"cpu": {"quota": 1}}, f'failed to write \\"{"1 100000" if UNIFIED else "1"}\\": write '),
]
if not UNIFIED:
    BAD_WITHOUT_SYSTEMD += [
        ({"cpu": {"shares": 1}}, "the minimum allowed cpu-shares is 2"),
        ({"cpu": {"realtimeRuntime": 100000, "realtimePeriod": 10}}, "cpu.rt_"),
    ]
BAD = [*BAD_ANYWHERE, *(BAD_ON_V2 if UNIFIED else BAD_ON_V1), *([] if BY_SYSTEMD else BAD_WITHOUT_SYSTEMD)]


@pytest.mark.parametrize(("resources", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_what_the_kernel_refuses_fails_as_with_runc(
    resources: dict[str, Any], message: str, bundle: Bundle, hookrun: Runtime, runc: Runtime
) -> None:
    sleeping(bundle, **resources)
    container = fresh_id()
    ours, theirs = (refusal(runtime, bundle, container) for runtime in (hookrun, runc))
    assert ours == theirs
    assert message in ours
    assert leaks.cgroups(container) == []
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
    killed = "container init was OOM-killed (memory limit too low?)" in result.out
    # A scope goes with its last process, and takes what the kernel counted along.
    gone = BY_SYSTEMD and ".scope" in result.out and "no such file or directory" in result.out
    assert refused or killed or gone


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
    for controller in ("memory", "pids", "devices", "cpuset", "freezer"):  # on v2 they are one
        procs = (cgroup(hookrun, container, controller) / "cgroup.procs").read_text().split()
        assert str(pid) in procs
    assert str(os.getpid()) not in procs


@v1_only
def test_a_slow_write_of_the_device_rules_denies_the_container_nothing(bundle: Bundle, hookrun: Runtime) -> None:
    """v1 takes everything away before it allows the first device: nobody inside may need one in that moment."""
    container_id = fresh_id("slow")
    bundle.linux["cgroupsPath"] = path_for(container_id)
    bundle.command("true")
    allow = ROOT / "devices" / relative_cgroup(container_id) / "devices.allow"
    slowed = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(allow), "-e", "inject=write:delay_enter=50ms"]
    done = subprocess.run(
        [*slowed, hookrun.program, *hookrun.globals, "run", "--bundle", str(bundle.path), container_id],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
