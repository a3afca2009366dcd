"""When, where and as what a process runs: scheduler, ioPriority, execCPUAffinity, personality, memoryPolicy.

Debian's runc is older than these fields: what the kernel says of the process is the judge.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.linux.syscalls import call
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

# sched_getattr(2), ioprio_get(2), get_mempolicy(2): nothing but these tests asks for them.
SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
IOPRIO_GET = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
SCHED_ATTR_SIZE = 56


def attributes_of(pid: int) -> dict[str, int]:
    """What sched_getattr(2) says of a process."""
    data = bytearray(SCHED_ATTR_SIZE)
    call(SCHED_GETATTR, pid, data, len(data), 0)
    places = {
        "policy": (4, 4),
        "flags": (8, 8),
        "nice": (16, 4),
        "priority": (20, 4),
        "runtime": (24, 8),
        "deadline": (32, 8),
        "period": (40, 8),
    }
    return {
        name: int.from_bytes(data[at : at + size], "little", signed=name == "nice")
        for name, (at, size) in places.items()
    }


def sleeping(bundle: Bundle, hookrun: Runtime, **process: Any) -> tuple[str, int]:
    """A container with these fields in its process; its id and its init's pid."""
    bundle.process.update(process)
    container = hookrun.run_detached(bundle.command("sleep", "1000").path)
    return container, hookrun.state(container)["pid"]


SCHEDULERS: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"policy": "SCHED_OTHER", "nice": 5}, {"policy": 0, "nice": 5}),
    ({"policy": "SCHED_BATCH", "nice": -3}, {"policy": 3, "nice": -3}),
    ({"policy": "SCHED_IDLE"}, {"policy": 5}),
    ({"policy": "SCHED_BATCH", "nice": 2, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, {"policy": 3, "flags": 1, "nice": 2}),
    ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]}, {"policy": 0}),
]


@pytest.mark.parametrize(("scheduler", "expected"), SCHEDULERS, ids=lambda value: str(value.get("policy")))
def test_schedulers(bundle: Bundle, hookrun: Runtime, scheduler: dict[str, Any], expected: dict[str, int]) -> None:
    _, pid = sleeping(bundle, hookrun, scheduler=scheduler)
    assert attributes_of(pid).items() >= expected.items()


REAL_TIME: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"policy": "SCHED_FIFO", "priority": 10}, {"policy": 1, "priority": 10}),
    (
        {"policy": "SCHED_RR", "priority": 20, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        {"policy": 2, "priority": 20, "flags": 1},
    ),
    (
        {"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 50_000_000, "period": 100_000_000},
        {"policy": 6, "runtime": 10_000_000, "deadline": 50_000_000, "period": 100_000_000},
    ),
]


# Where the kernel shares real time out (CONFIG_RT_GROUP_SCHED, v1), a new cgroup has none of it.
SHARED_OUT = Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists()
REAL_TIME_SHARE = {"cpu": {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}}


@pytest.mark.parametrize(("scheduler", "expected"), REAL_TIME, ids=lambda value: str(value.get("policy")))
def test_real_time_schedulers(
    bundle: Bundle, hookrun: Runtime, scheduler: dict[str, Any], expected: dict[str, int]
) -> None:
    if SHARED_OUT:
        bundle.linux["resources"].update(REAL_TIME_SHARE)
    _, pid = sleeping(bundle, hookrun, scheduler=scheduler)
    assert attributes_of(pid).items() >= expected.items()


@pytest.mark.skipif(not SHARED_OUT, reason="the kernel does not share real time out to cgroups")
def test_real_time_without_a_share_of_it(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 10}
    result = hookrun.run(bundle.write().path)
    assert (result.status, "error setting scheduler: operation not permitted" in result.err) == (1, True), result


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"policy": ""}, "scheduler policy is required"),
    ({"policy": "SCHED_LATER"}, "invalid scheduler policy: SCHED_LATER"),
    ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}, "invalid scheduler flag: SCHED_FLAG_NONE"),
    ({"policy": "SCHED_OTHER", "nice": 20}, "invalid scheduler.nice: 20"),
    (
        {"policy": "SCHED_OTHER", "priority": 3},
        "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
    ),
    ({"policy": "SCHED_FIFO", "runtime": 3}, "scheduler runtime can only be specified for SchedDeadline policy"),
]


@pytest.mark.parametrize(("scheduler", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_schedulers_that_are_none(bundle: Bundle, hookrun: Runtime, scheduler: dict[str, Any], message: str) -> None:
    bundle.process["scheduler"] = scheduler
    result = hookrun.run(bundle.write().path)
    assert (result.status, message in result.err) == (1, True), result.err


@pytest.mark.parametrize(("kind", "number"), [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)])
@pytest.mark.parametrize("level", [0, 7])
def test_io_priorities(bundle: Bundle, hookrun: Runtime, kind: str, number: int, level: int) -> None:
    container, pid = sleeping(bundle, hookrun, ioPriority={"class": kind, "priority": level})
    assert call(IOPRIO_GET, 1, pid) == number << 13 | level
    assert "sleep" in hookrun.exec(container, "ps").out


@pytest.mark.parametrize(
    ("priority", "message"),
    [
        ({"class": "IOPRIO_CLASS_FAST"}, "invalid ioPriority.Class"),
        ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "invalid ioPriority.Priority: 8"),
    ],
)
def test_io_priorities_that_are_none(bundle: Bundle, hookrun: Runtime, priority: dict[str, Any], message: str) -> None:
    bundle.process["ioPriority"] = priority
    result = hookrun.run(bundle.write().path)
    assert (result.status, message in result.err) == (1, True), result.err


def test_exec_has_the_containers_priorities_and_may_have_its_own(bundle: Bundle, hookrun: Runtime) -> None:
    """runc's newInitConfig: what the process of `exec --process` leaves out is the container's."""
    container, _ = sleeping(
        bundle, hookrun, scheduler={"policy": "SCHED_BATCH"}, ioPriority={"class": "IOPRIO_CLASS_IDLE"}
    )
    for index, (own, policy, priority) in enumerate(
        (
            ({}, 3, 3 << 13),
            (
                {"scheduler": {"policy": "SCHED_IDLE"}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 2}},
                5,
                2 << 13 | 2,
            ),
        )
    ):
        file = bundle.path / f"process{index}.json"
        file.write_text(json.dumps({"args": ["/bin/sleep", "1000"], "cwd": "/", **own}))
        pid_file = bundle.path / f"pid{index}"
        assert hookrun.exec(container, "true").status == 0
        done = hookrun.call_leaving(
            "exec",
            "--detach",
            "--pid-file",
            str(pid_file),
            "--process",
            str(file),
            container,
            output=bundle.path / "out",
        )
        assert done.status == 0, done.out
        pid = int(pid_file.read_text())
        assert (attributes_of(pid)["policy"], call(IOPRIO_GET, 1, pid)) == (policy, priority)


def cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0))


ALLOWED = "grep Cpus_allowed_list /proc/self/status"


def test_a_container_runs_on_all_cpus_whatever_its_caller_is_bound_to(bundle: Bundle, hookrun: Runtime) -> None:
    """As runc does since 1.3."""
    if len(cpus()) < 2:
        pytest.skip("one CPU only")
    before = cpus()
    os.sched_setaffinity(0, before[:1])
    try:
        seen = hookrun.run(bundle.shell(ALLOWED).path).out
        container, _ = sleeping(bundle, hookrun)
        inside = hookrun.exec(container, "sh", "-c", ALLOWED).out
    finally:
        os.sched_setaffinity(0, before)
    whole = Path("/proc/self/status").read_text().split("Cpus_allowed_list:")[1].split()[0]
    assert (seen.split()[1], inside.split()[1]) == (whole, whole)


def test_cpu_affinity_of_exec(bundle: Bundle, hookrun: Runtime) -> None:
    """`initial` is for the runtime's own process; `final`, or else it, for the program."""
    if len(cpus()) < 2:
        pytest.skip("one CPU only")
    first, second = cpus()[:2]
    container, _ = sleeping(bundle, hookrun, execCPUAffinity={"initial": f"{first}-{second}", "final": str(second)})
    assert hookrun.exec(container, "sh", "-c", ALLOWED).out.split()[1] == str(second)
    file = bundle.path / "process.json"
    own = {"initial": str(first)}
    file.write_text(
        json.dumps({"args": ["sh", "-c", ALLOWED], "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": own})
    )
    assert hookrun.call("exec", "--process", str(file), container).out.split()[1] == str(first)


def test_cpu_affinities_that_are_none(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.process["execCPUAffinity"] = {"initial": "5-1"}
    result = hookrun.run(bundle.write().path)
    assert (result.status, "invalid range: 5-1" in result.err) == (1, True)


@pytest.mark.parametrize(
    ("domain", "machine"),
    [("LINUX", os.uname().machine), ("LINUX32", {"x86_64": "i686", "aarch64": "armv8l"}[os.uname().machine])],
)
def test_personality(bundle: Bundle, hookrun: Runtime, domain: str, machine: str) -> None:
    bundle.linux["personality"] = {"domain": domain}
    container, _ = sleeping(bundle, hookrun)
    assert hookrun.exec(container, "uname", "-m").out.strip() == machine
    assert hookrun.run(bundle.command("uname", "-m").path).out.strip() == machine


def test_flags_of_a_personality_are_ignored(bundle: Bundle, hookrun: Runtime) -> None:
    """There are none, says runc's warning."""
    bundle.linux["personality"] = {"domain": "LINUX", "flags": ["X", "Y"]}
    result = hookrun.run(bundle.command("true").path)
    assert result.status == 0
    assert "ignoring unsupported personality flags: [X Y]" in result.err


@pytest.mark.parametrize(
    ("personality", "message"),
    [
        ({"domain": "PLAN9"}, "invalid personality domain"),
        ({}, "invalid personality domain "),
    ],
)
def test_personalities_that_are_none(
    bundle: Bundle, hookrun: Runtime, personality: dict[str, Any], message: str
) -> None:
    bundle.linux["personality"] = personality
    result = hookrun.run(bundle.write().path)
    assert (result.status, message in result.err) == (1, True), result.err


NUMA = Path("/proc/self/numa_maps").exists()
WEIGHTED: tuple[dict[str, Any], str] = ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, "weighted interleave:0")
POLICIES: list[tuple[dict[str, Any], str]] = [
    ({"mode": "MPOL_DEFAULT"}, "default"),
    ({"mode": "MPOL_LOCAL"}, "local"),
    ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
    ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
    ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
    # Since Linux 6.9.
    *([WEIGHTED] if Path("/sys/kernel/mm/mempolicy/weighted_interleave").is_dir() else []),
]


@pytest.mark.skipif(not NUMA, reason="a kernel without NUMA has no memory policies")
@pytest.mark.parametrize(("policy", "shown"), POLICIES, ids=[shown for _, shown in POLICIES])
def test_memory_policies(bundle: Bundle, hookrun: Runtime, policy: dict[str, Any], shown: str) -> None:
    bundle.linux["memoryPolicy"] = policy
    script = "head -n 1 /proc/self/numa_maps"
    result = hookrun.run(bundle.shell(script).path)
    assert (result.status, shown in result.out) == (0, True), result
    container, _ = sleeping(bundle, hookrun)
    assert shown in hookrun.exec(container, "sh", "-c", script).out


@pytest.mark.skipif(NUMA, reason="the kernel has NUMA")
def test_a_kernel_without_memory_policies_says_so(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    result = hookrun.run(bundle.write().path)
    assert (result.status, "error setting memory policy: function not implemented" in result.err) == (1, True), (
        result.err
    )


BAD_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({}, 'invalid memory policy mode ""'),
    ({"mode": "INTERLEAVE", "nodes": "0"}, 'invalid memory policy mode "INTERLEAVE"'),
    ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"]}, 'invalid memory policy flag "badflag"'),
    ({"mode": "MPOL_DEFAULT", "nodes": "0-7"}, "memory policy mode requires 0 nodes but got 8"),
    ({"mode": "MPOL_BIND"}, "memory policy mode requires at least one node but got 0"),
    ({"mode": "MPOL_BIND", "nodes": "0-9876543210"}, 'invalid memory policy nodes "0-9876543210"'),
]


@pytest.mark.parametrize(("policy", "message"), BAD_POLICIES, ids=[message for _, message in BAD_POLICIES])
def test_memory_policies_that_are_none(bundle: Bundle, hookrun: Runtime, policy: dict[str, Any], message: str) -> None:
    bundle.linux["memoryPolicy"] = policy
    result = hookrun.run(bundle.write().path)
    assert result.status == 1
    assert message.replace('"', '\\"') in result.err
