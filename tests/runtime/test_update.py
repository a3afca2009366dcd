"""`update`: each flag and each field of --resources, with hookrun and with runc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.commands import update
from hookrun.runtime.errors import Failure
from tests.runtime.cgroup_support import MIB, UNIFIED, kept_state, sleeping, v1_only, v2_only, values
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, wait_for

BEFORE: dict[str, Any] = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB},
    "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"},
    "pids": {"limit": 50},
}
Files = dict[str, str]
FILES_ON_V1 = (
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "devices.list",
)
FILES_ON_V2 = (
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "cpu.max",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    # Not cpu.weight: Debian's runc has the curve that was before runc 1.3.
)
FILES = FILES_ON_V2 if UNIFIED else FILES_ON_V1
V1_MOST = "9223372036854771712"

# Flags, and what is then in the files of v1 and of v2.
ONE_OF_TWO: list[tuple[list[str], Files, Files]] = [
    (
        ["--memory", "32m"],
        {"memory.limit_in_bytes": str(32 * MIB)},
        {"memory.max": str(32 * MIB), "memory.swap.max": str(64 * MIB)},
    ),
    (
        ["--memory", "33554432"],
        {"memory.limit_in_bytes": str(32 * MIB)},
        {"memory.max": str(32 * MIB), "memory.swap.max": str(64 * MIB)},
    ),
    (
        ["--memory-swap", "80m"],
        {"memory.memsw.limit_in_bytes": str(80 * MIB)},
        {"memory.max": str(64 * MIB), "memory.swap.max": str(16 * MIB)},
    ),
]
FLAGS: list[tuple[list[str], Files, Files]] = [
    (
        ["--memory", "128M", "--memory-swap", "256MiB"],
        {"memory.memsw.limit_in_bytes": str(256 * MIB)},
        {"memory.max": str(128 * MIB), "memory.swap.max": str(128 * MIB)},
    ),
    (
        ["--memory", "0.125g", "--memory-swap", "-1"],
        {"memory.limit_in_bytes": str(128 * MIB)},
        {"memory.max": str(128 * MIB), "memory.swap.max": "max"},
    ),
    (
        ["--memory", "16 mb", "--memory-swap", "16mb"],
        {"memory.memsw.limit_in_bytes": str(16 * MIB)},
        {"memory.max": str(16 * MIB), "memory.swap.max": "0"},
    ),
    (["--memory", "-1"], {"memory.limit_in_bytes": V1_MOST}, {"memory.max": "max"}),
    (["--memory-reservation", "24m"], {"memory.soft_limit_in_bytes": str(24 * MIB)}, {"memory.low": str(24 * MIB)}),
    (["--kernel-memory", "50m"], {}, {}),
    (["--blkio-weight", "300"], {}, {}),
    (["--cpu-share", "300"], {"cpu.shares": "300"}, {}),
    (
        ["--cpu-quota", "30000"],
        {"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "50000"},
        {},
    ),
    (["--cpu-period", "40000"], {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "40000"}, {}),
    (["--cpu-quota", "-1"], {"cpu.cfs_quota_us": "-1"}, {}),
    (
        ["--cpu-quota", "10000", "--cpu-period", "100000"],
        {"cpu.cfs_period_us": "100000"},
        {"cpu.max": "10000 100000"},
    ),
    (["--cpuset-cpus", "0-1"], {"cpuset.cpus": "0-1"}, {"cpuset.cpus": "0-1"}),
    (["--cpuset-mems", "0"], {"cpuset.mems": "0"}, {"cpuset.mems": "0"}),
    (["--pids-limit", "12"], {"pids.max": "12"}, {"pids.max": "12"}),
    (["--pids-limit", "-1"], {"pids.max": "max"}, {"pids.max": "max"}),
    (
        [],
        {"cpu.shares": "512", "cpu.cfs_quota_us": "20000", "pids.max": "50"},
        {"cpu.max": "20000 50000", "pids.max": "50"},
    ),
    # Memory alone, or swap alone: on v2, which counts them apart, runc 1.1 sets the one and 1.5 both.
    *([] if UNIFIED else [(flags, v1, {}) for flags, v1, _ in ONE_OF_TWO]),
]

DOCUMENTS: list[tuple[dict[str, Any], Files, Files]] = [
    (
        {"memory": {"limit": 32 * MIB, "swap": 32 * MIB, "reservation": 8 * MIB}},
        {"memory.soft_limit_in_bytes": str(8 * MIB)},
        {"memory.max": str(32 * MIB), "memory.swap.max": "0", "memory.low": str(8 * MIB)},
    ),
    (
        {"memory": {"limit": 200 * MIB, "swap": 300 * MIB}},
        {"memory.memsw.limit_in_bytes": str(300 * MIB)},
        {"memory.max": str(200 * MIB), "memory.swap.max": str(100 * MIB)},
    ),
    (
        {"memory": {"limit": -1, "swap": -1}},
        {"memory.limit_in_bytes": V1_MOST},
        {"memory.max": "max", "memory.swap.max": "max"},
    ),
    (
        {"cpu": {"quota": 24000, "period": 60000, "shares": 100}},
        {"cpu.shares": "100", "cpu.cfs_quota_us": "24000"},
        {},
    ),
    ({"cpu": {"cpus": "1", "mems": "0"}}, {"cpuset.cpus": "1"}, {"cpuset.cpus": "1", "cpuset.mems": "0"}),
    ({"pids": {"limit": 9}, "unknown": {"field": 1}}, {"pids.max": "9"}, {"pids.max": "9"}),
    ({}, {"cpu.shares": "512"}, {"cpu.max": "20000 50000"}),
]


def updated(runtime: Runtime, bundle: Bundle, *arguments: str, stdin: str | None = None) -> dict[str, str]:
    """What a container's files hold after an update."""
    container = runtime.create(bundle.path)
    result = runtime.call("update", *arguments, container, stdin=stdin)
    assert result.status == 0, result.err
    return values(runtime, container, *FILES)


def test_record_keeps_what_the_update_did_not_name(bundle: Bundle, hookrun: Runtime) -> None:
    """As runc 1.5 does: 1.1 forgets it, so that its next update may undo what nobody asked it to."""
    sleeping(bundle, **BEFORE)
    container = hookrun.create(bundle.path)
    assert hookrun.call("update", "--cpu-quota", "30000", "--memory-reservation", "8m", container).status == 0
    kept = kept_state(hookrun, container)["config"]["cgroups"]
    expected = {
        "memory": 64 * MIB,
        "memory_swap": 96 * MIB,
        "memory_reservation": 8 * MIB,
        "cpu_shares": 512,
        "cpu_quota": 30000,
        "cpu_period": 50000,
        "cpuset_cpus": "",
        "pids_limit": None,
    }
    assert {name: kept[name] for name in expected} == expected
    assert {"type": 99, "major": 1, "minor": 3, "permissions": "rwm", "allow": True} in kept["devices"]


@pytest.mark.parametrize(("flags", "v1", "v2"), FLAGS, ids=[" ".join(flags) or "none" for flags, _, _ in FLAGS])
def test_flags(flags: list[str], v1: Files, v2: Files, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(bundle, **BEFORE)
    ours = updated(hookrun, bundle, *flags)
    assert ours == updated(runc, bundle, *flags)
    assert (v2 if UNIFIED else v1).items() <= ours.items()


@v2_only
@pytest.mark.parametrize(("flags", "v1", "v2"), ONE_OF_TWO, ids=[" ".join(flags) for flags, _, _ in ONE_OF_TWO])
def test_memory_and_swap_stay_together_as_in_runc_1_5(
    flags: list[str], v1: Files, v2: Files, bundle: Bundle, hookrun: Runtime
) -> None:
    sleeping(bundle, **BEFORE)
    assert v2.items() <= updated(hookrun, bundle, *flags).items()


@pytest.mark.parametrize("source", ["-", "file"])
@pytest.mark.parametrize(("document", "v1", "v2"), DOCUMENTS, ids=[json.dumps(item)[:40] for item, _, _ in DOCUMENTS])
def test_resources(
    document: dict[str, Any], v1: Files, v2: Files, source: str, bundle: Bundle, hookrun: Runtime, runc: Runtime
) -> None:
    sleeping(bundle, **BEFORE)
    text = json.dumps(document)
    (bundle.path / "resources.json").write_text(text)
    path, stdin = ("-", text) if source == "-" else (str(bundle.path / "resources.json"), None)
    ours = updated(hookrun, bundle, "--resources", path, stdin=stdin)
    assert ours == updated(runc, bundle, "--resources", path, stdin=stdin)
    assert (v2 if UNIFIED else v1).items() <= ours.items()


@v1_only
def test_block_weight_and_realtime_are_taken(bundle: Bundle, either: Runtime) -> None:
    """Files that this kernel may lack: what counts is that both do the same."""
    sleeping(bundle, **BEFORE)
    container = either.create(bundle.path)
    result = either.call("update", "--cpu-rt-period", "10", "--cpu-rt-runtime", "100000", container)
    assert result.status == 1
    assert "cpu.rt_" in result.err
    assert values(either, container, "cpu.shares") == {"cpu.shares": "512"}


@v2_only
def test_shares_are_a_weight_by_the_curve_of_runc_1_3(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, **BEFORE)
    container = hookrun.create(bundle.path)
    assert values(hookrun, container, "cpu.weight") == {"cpu.weight": "59"}
    assert hookrun.call("update", "--cpu-share", "1024", container).status == 0
    assert values(hookrun, container, "cpu.weight") == {"cpu.weight": "100"}


def test_burst_and_idle(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle, **BEFORE)
    container = hookrun.create(bundle.path)
    burst = "cpu.max.burst" if UNIFIED else "cpu.cfs_burst_us"
    assert hookrun.call("update", "--cpu-burst", "5000", container).status == 0
    assert values(hookrun, container, burst) == {burst: "5000"}
    assert hookrun.call("update", "--cpu-idle", "1", container).status == 0
    assert values(hookrun, container, "cpu.idle") == {"cpu.idle": "1"}
    assert hookrun.call("update", "--cpu-idle", "0", container).status == 0
    assert values(hookrun, container, "cpu.idle") == {"cpu.idle": "0"}


@pytest.mark.parametrize("field", ["throttleReadBpsDevice", "throttleWriteIOPSDevice"])
def test_rates_of_devices_are_added_to_those_that_are_there(field: str, bundle: Bundle, hookrun: Runtime) -> None:
    devices = [path.read_text().strip() for path in sorted(Path("/sys/block").glob("*/dev"))]
    if len(devices) < 2:
        pytest.skip("two block devices are needed")
    first, second = ({"major": int(d.split(":")[0]), "minor": int(d.split(":")[1])} for d in devices[:2])
    sleeping(bundle, blockIO={field: [{**first, "rate": 1048576}]})
    container = hookrun.create(bundle.path)
    change = {"blockIO": {field: [{**second, "rate": 2097152}, {**first, "rate": 4194304}]}}
    assert hookrun.call("update", "-r", "-", container, stdin=json.dumps(change)).status == 0
    rates = sorted([(devices[0], "4194304"), (devices[1], "2097152")])
    if UNIFIED:
        key = {"throttleReadBpsDevice": "rbps", "throttleWriteIOPSDevice": "wiops"}[field]
        found = [line.split() for line in values(hookrun, container, "io.max")["io.max"].splitlines()]
        assert sorted((device, dict(limit.split("=") for limit in limits)[key]) for device, *limits in found) == rates
    else:
        name = {"throttleReadBpsDevice": "read_bps_device", "throttleWriteIOPSDevice": "write_iops_device"}[field]
        lines = values(hookrun, container, f"blkio.throttle.{name}")[f"blkio.throttle.{name}"].splitlines()
        assert sorted(lines) == [f"{device} {rate}" for device, rate in rates]


BAD = [
    (["--memory", "x"], None, "invalid value for memory: invalid size: 'x'"),
    (["--memory", "5q"], None, "invalid value for memory: invalid s"),
    (
        ["--cpu-quota", "much"],
        None,
        'invalid value for cpu-quota: strconv.ParseInt: parsing \\"much\\": invalid syntax',
    ),
    (["--cpu-period", "-1"], None, 'invalid value for cpu-period: strconv.ParseUint: parsing \\"-1\\": invalid syntax'),
    (
        ["--cpu-share", "99999999999999999999"],
        None,
        'invalid value for cpu-share: strconv.ParseUint: parsing \\"99999999999999999999\\": value out of range',
    ),
    (["--cpuset-cpus", "4000"], None, 'failed to write \\"4000\\": write '),
    (["--resources", "/no/such/file"], None, "open /no/such/file: no such file or directory"),
    (["--resources", "-"], "", "EOF"),
    (["--l3-cache-schema", "L3:0=f"], None, "Intel RDT/CAT: l3 cache schema is not enabled"),
    (["--mem-bw-schema", "MB:0=20"], None, "Intel RDT/MBA: memory bandwidth schema is not enabled"),
]


@pytest.mark.parametrize(("arguments", "stdin", "message"), BAD, ids=[message[:50] for _, _, message in BAD])
def test_refusals_leave_everything_as_it_was(
    arguments: list[str], stdin: str | None, message: str, bundle: Bundle, either: Runtime
) -> None:
    sleeping(bundle, **BEFORE)
    container = either.create(bundle.path)
    before = values(either, container, *FILES)
    result = either.call("update", *arguments, container, stdin=stdin)
    assert result.status == 1
    assert message in result.err
    assert values(either, container, *FILES) == before


REFUSED = [(("--cpuset-cpus", "4000"), "failed to write")]
if not UNIFIED:
    REFUSED.append((("--cpu-share", "1"), "the minimum allowed cpu-shares is 2"))


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=[flags[0] for flags, _ in REFUSED])
def test_limits_go_back_when_one_is_refused(
    flags: tuple[str, str], message: str, bundle: Bundle, hookrun: Runtime
) -> None:
    """runc 1.1 means to, and does not, since it has overwritten the old values by then."""
    sleeping(bundle, **BEFORE)
    container = hookrun.create(bundle.path)
    before = values(hookrun, container, *FILES)
    kept = kept_state(hookrun, container)["config"]["cgroups"]
    result = hookrun.call("update", "--memory", "48m", *flags, container)
    assert result.status == 1
    assert message in result.err
    assert values(hookrun, container, *FILES) == before
    assert kept_state(hookrun, container)["config"]["cgroups"] == kept


def test_wrong_types_are_refused(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle, **BEFORE)
    container = either.create(bundle.path)
    result = either.call("update", "-r", "-", container, stdin='{"memory": {"limit": "64m"}}')
    assert result.status == 1
    assert "limit" in result.err


def test_update_of_a_container_that_has_ended(bundle: Bundle, either: Runtime) -> None:
    bundle.linux["resources"] = {}
    bundle.command("true")
    container = either.run_detached(bundle.path)
    either.wait_for_status(container, "stopped")
    result = either.call("update", "--memory", "32m", container)
    assert result.status == 1
    assert "container not running" in result.err


def holding_20_megabytes(bundle: Bundle, runtime: Runtime) -> str:
    """A container with that much in its memory, and its id."""
    sleeping(bundle, memory={"limit": 64 * MIB})
    bundle.add_mount("/tmp", "tmpfs", "tmpfs").shell(
        "head -c 20000000 /dev/zero > /tmp/file; touch /tmp/ready; sleep 1000"
    )
    container = runtime.run_detached(bundle.path)
    wait_for(lambda: runtime.exec(container, "test", "-e", "/tmp/ready").status == 0, "the file to be written")
    return container


@v1_only
def test_memory_limit_below_the_usage(bundle: Bundle, either: Runtime) -> None:
    """The kernel takes back what it can, and refuses what it can't."""
    container = holding_20_megabytes(bundle, either)
    result = either.call("update", "--memory", "2m", "--memory-swap", "2m", container)
    assert result.status == 1
    assert "unable to set memory limit to 2097152 (current usage: " in result.err
    assert values(either, container, "memory.limit_in_bytes") == {"memory.limit_in_bytes": str(64 * MIB)}


@v2_only
def test_memory_limit_that_is_checked_against_the_usage(bundle: Bundle, hookrun: Runtime) -> None:
    """On v2 the kernel kills where it can't take back, which `checkBeforeUpdate`, of runc 1.2, is there to prevent."""
    container = holding_20_megabytes(bundle, hookrun)
    change = {"memory": {"limit": 2 * MIB, "checkBeforeUpdate": True}}
    result = hookrun.call("update", "-r", "-", container, stdin=json.dumps(change))
    assert result.status == 1
    assert "rejecting memory limit 2097152 <= usage " in result.err
    assert values(hookrun, container, "memory.max") == {"memory.max": str(64 * MIB)}
    assert hookrun.state(container)["status"] == "running"


def test_sizes() -> None:
    assert update._size("memory", "1.5k") == 1536
    assert update._size("memory", "2GiB") == 2 << 30
    assert update._size("memory", "3 tb") == 3 << 40
    for text in ("", "k", "1xb", "1kbb", "--1", "1 2", "-5m"):
        with pytest.raises(Failure, match="invalid value for memory:"):
            update._size("memory", text)
