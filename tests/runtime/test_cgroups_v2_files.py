"""What the v2 controllers write, on plain files in the place of a cgroup; tests/vm has the kernel's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.cgroups import resources
from hookrun.runtime.cgroups.v2 import controllers as v2_controllers
from hookrun.runtime.cgroups.v2 import manager as v2
from hookrun.runtime.cgroups.v2 import stats as v2_stats
from hookrun.runtime.documents import Memory, Resources
from hookrun.runtime.errors import Failure

FILES = (
    "memory.max",
    "memory.low",
    "memory.swap.max",
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "io.max",
    "io.weight",
    "hugetlb.2MB.max",
    "rdma.max",
)


def on_device(**fields: int) -> Any:
    return {"major": 8, "minor": 16, **fields}


ROWS: list[tuple[Resources, dict[str, str]]] = [
    ({}, {}),
    ({"memory": {"limit": 1000}}, {"memory.max": "1000"}),
    ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
    ({"memory": {"limit": 1000, "swap": 1500}}, {"memory.max": "1000", "memory.swap.max": "500"}),
    ({"memory": {"limit": 1000, "swap": 1000}}, {"memory.max": "1000", "memory.swap.max": "0"}),
    ({"memory": {"limit": 1000, "swap": -1}}, {"memory.max": "1000", "memory.swap.max": "max"}),
    ({"memory": {"reservation": 300}}, {"memory.low": "300"}),
    ({"memory": {"reservation": -1}}, {"memory.low": "max"}),
    ({"memory": {"limit": 1000, "checkBeforeUpdate": True}}, {"memory.max": "1000"}),
    ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
    ({"cpu": {"quota": 50000}}, {"cpu.max": "50000 100000"}),
    ({"cpu": {"period": 40000}}, {"cpu.max": "max 40000"}),
    ({"cpu": {"quota": -1, "period": 40000}}, {"cpu.max": "max 40000"}),
    ({"cpu": {"quota": 20000, "period": 40000, "burst": 0}}, {"cpu.max": "20000 40000", "cpu.max.burst": "0"}),
    ({"cpu": {"idle": 1}}, {"cpu.idle": "1"}),
    ({"cpu": {"cpus": "0-1", "mems": "0"}}, {"cpuset.cpus": "0-1", "cpuset.mems": "0"}),
    ({"pids": {"limit": 9}}, {"pids.max": "9"}),
    ({"pids": {"limit": 0}}, {"pids.max": "1"}),
    ({"pids": {"limit": -5}}, {"pids.max": "max"}),
    ({"blockIO": {"weight": 10}}, {"io.weight": "1"}),
    ({"blockIO": {"weight": 1000}}, {"io.weight": "10000"}),
    ({"blockIO": {"throttleReadBpsDevice": [on_device(rate=7)]}}, {"io.max": "8:16 rbps=7"}),
    ({"blockIO": {"throttleWriteBpsDevice": [on_device(rate=7)]}}, {"io.max": "8:16 wbps=7"}),
    ({"blockIO": {"throttleReadIOPSDevice": [on_device(rate=7)]}}, {"io.max": "8:16 riops=7"}),
    ({"blockIO": {"throttleWriteIOPSDevice": [on_device(rate=7)]}}, {"io.max": "8:16 wiops=7"}),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 5}]}, {"hugetlb.2MB.max": "5"}),
    ({"rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 0}}}, {"rdma.max": "mlx hca_handle=3 hca_object=0"}),
]


@pytest.fixture(name="cgroup")
def fixture_cgroup(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def written(cgroup: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in cgroup.iterdir() if path.read_text()}


@pytest.mark.parametrize(("limits", "expected"), ROWS, ids=[str(limits) for limits, _ in ROWS])
def test_files(limits: Resources, expected: dict[str, str], cgroup: Path) -> None:
    v2_controllers.apply(str(cgroup), limits)
    assert written(cgroup) == expected


def test_without_swap_accounting_only_a_real_limit_fails(cgroup: Path) -> None:
    (cgroup / "memory.swap.max").unlink()
    v2_controllers.apply(str(cgroup), {"memory": {"limit": 1000, "swap": 1000}})
    v2_controllers.apply(str(cgroup), {"memory": {"limit": -1}})
    with pytest.raises(Failure, match=r"memory\.swap\.max: no such file or directory"):
        v2_controllers.apply(str(cgroup), {"memory": {"limit": 1000, "swap": 1500}})


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"limit": 500}, "rejecting memory limit 500 <= usage 600"),
        ({"limit": 700, "swap": 550}, r"rejecting memory\+swap limit 550 <= usage 600"),
    ],
)
def test_check_before_update(memory: Memory, message: str, cgroup: Path) -> None:
    (cgroup / "memory.current").write_text("600\n")
    with pytest.raises(Failure, match=message):
        v2_controllers.apply(str(cgroup), {"memory": {**memory, "checkBeforeUpdate": True}})
    assert "memory.max" not in written(cgroup)


def test_bfq_weights(cgroup: Path) -> None:
    (cgroup / "io.bfq.weight").write_text("default 100\n")
    v2_controllers.apply(str(cgroup), {"blockIO": {"weightDevice": [on_device(weight=300)]}})
    assert (cgroup / "io.bfq.weight").read_text().startswith("8:16 300\n")


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 0),
        (1, 1),
        (2, 1),
        (1024, 100),
        (262144, 10000),
        (1 << 40, 10000),
        (512, 59),
        (3, 2),
        (262143, 10000),
        (262145, 10000),
    ],
)
def test_weight_of_shares(shares: int, weight: int) -> None:
    assert resources.weight_of_shares(shares) == weight


@pytest.mark.parametrize(
    ("both", "memory", "swap"), [(0, -1, -1), (-1, 5, -1), (0, 5, 0), (7, -1, 7), (7, 5, 2), (5, 5, 0), (0, 0, 0)]
)
def test_swap_alone(both: int, memory: int, swap: int) -> None:
    assert resources.swap_alone(both, memory) == swap


@pytest.mark.parametrize(
    ("both", "memory", "message"),
    [
        (7, 0, "unable to set swap limit without memory limit"),
        (7, -2, "invalid memory value: -2"),
        (5, 7, r"memory\+swap limit should be >= memory limit"),
    ],
)
def test_swap_that_does_not_fit(both: int, memory: int, message: str) -> None:
    with pytest.raises(Failure, match=message):
        resources.swap_alone(both, memory)


def test_the_record_gives_the_resources_back() -> None:
    limits = {
        "memory": {"limit": 5, "swap": 6, "swappiness": 0, "disableOOMKiller": True},
        "cpu": {"shares": 2, "burst": 0, "idle": 0, "cpus": "1"},
        "pids": {"limit": 0},
        "blockIO": {"weight": 10, "throttleReadBpsDevice": [on_device(rate=7)]},
        "network": {"classID": 3, "priorities": [{"name": "lo", "priority": 2}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 5}],
        "rdma": {"mlx": {"hcaHandles": 3}},
        "unified": {"a.b": "c"},
    }
    kept = resources.state_form(limits, [])
    assert kept["hugetlb_limit"] == [{"page_size": "2MB", "limit": 5}]
    assert kept["net_prio_ifpriomap"] == [{"interface": "lo", "priority": 2}]
    assert kept["rdma"] == {"mlx": {"hca_handles": 3}}
    assert resources.of_state(kept) == limits


def test_stats(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 3\nnr_throttled 1\nthrottled_usec 5",
        "cpu.pressure": "some avg10=0.50 avg60=0.10 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7",
        "memory.stat": "anon 100\nfile 200",
        "memory.current": "300",
        "memory.max": "max",
        "memory.peak": "350",
        "memory.swap.current": "10",
        "memory.swap.max": "40",
        "pids.current": "4",
        "pids.max": "9",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    found = v2_stats.collect(str(tmp_path))
    assert found["cpu"]["usage"] == {"total": 30000, "kernel": 10000, "user": 20000}
    assert found["cpu"]["throttling"] == {"periods": 3, "throttledPeriods": 1, "throttledTime": 5000}
    assert found["cpu"]["psi"]["some"] == {"avg10": 0.5, "avg60": 0.1, "avg300": 0.0, "total": 77}
    assert found["memory"]["cache"] == 200
    assert found["memory"]["usage"] == {"limit": (1 << 64) - 1, "usage": 300, "max": 350, "failcnt": 0}
    assert found["memory"]["swap"] == {"limit": 39, "usage": 310, "failcnt": 0}
    assert found["memory"]["raw"] == {"anon": 100, "file": 200}
    assert found["pids"] == {"current": 4, "limit": 9}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 1},
            {"major": 8, "op": "Write", "value": 2},
        ],
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 3},
            {"major": 8, "op": "Write", "value": 4},
        ],
    }


def test_a_cgroup_that_is_gone_is_thawed_and_not_frozen(tmp_path: Path) -> None:
    """Systemd takes a scope away with its last process, which may end between the question and the thaw."""
    gone = v2.V2Manager({"": str(tmp_path / "gone")}, rootless=False, explicit=False, rules=None)
    gone.thaw()
    with pytest.raises(Failure, match="freezer not supported"):
        gone.freeze()
