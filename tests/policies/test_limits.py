"""Ceilings hold in every spelling of a limit: fields, cgroup v2's files, systemd's properties."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policies.support import document, judged

GIB = 1 << 30
MAX = {"memory": "1Gi", "cpus": 2, "pids": 100}


def capped(resources: dict[str, Any], annotations: dict[str, str] | None = None, **word: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"linux": {"resources": resources}}
    if annotations is not None:
        config["annotations"] = annotations
    outcome = judged(config, document(resources=word or {"max": MAX}))
    assert not outcome.denied, outcome.denied
    return outcome.config


@pytest.mark.parametrize(
    "value", ["max", " max\n", str(GIB + 1), "2G", "2g", "0x7fffffff", "017777777777777", "-1", "", "1024 m", "a"]
)
def test_a_file_of_memory_above_the_ceiling(value: str) -> None:
    found = capped({"unified": {"memory.max": value, "memory.low": "5"}})["linux"]["resources"]
    assert found["unified"] == {"memory.max": str(GIB), "memory.low": "5"}
    assert found["memory"]["limit"] == GIB


@pytest.mark.parametrize("value", ["0", "5", str(GIB), "1G", "1024m", "1048576K\n"])
def test_a_file_of_memory_within(value: str) -> None:
    assert capped({"unified": {"memory.max": value}})["linux"]["resources"]["unified"] == {"memory.max": value}


@pytest.mark.parametrize(
    ("file", "value", "expected"),
    [
        ("pids.max", "max", "100"),
        ("pids.max", "101", "100"),
        ("pids.max", "100", "100"),
        ("cpu.max", "max", "200000 100000"),
        ("cpu.max", "max 50000", "100000 50000"),
        ("cpu.max", "300000 100000", "200000 100000"),
        ("cpu.max", "200001", "200000 100000"),
        ("cpu.max", "200000", "200000"),
        ("cpu.max", "50000 25000", "50000 25000"),
        ("cpu.max", "50000 1000", "2000 1000"),
        ("cpu.max", "x y", "200000 100000"),
        ("memory.high", "max", "max"),
    ],
)
def test_other_files(file: str, value: str, expected: str) -> None:
    assert capped({"unified": {file: value}})["linux"]["resources"]["unified"] == {file: expected}


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("MemoryMax", "uint64 1073741824", True),
        ("MemoryMax", "1073741824", True),
        ("MemoryMax", "uint64 1073741825", False),
        ("MemoryMax", "uint64 18446744073709551615", False),
        ("MemoryMax", "@t 5", False),
        ("MemoryMaxScale", "uint32 4294967295", False),
        ("MemoryLimit", "uint64 9999999999", False),
        ("TasksMax", "uint64 100", True),
        ("TasksMax", "uint64 101", False),
        ("CPUQuotaPerSecUSec", "uint64 2000000", True),
        ("CPUQuotaPerSecUSec", "uint64 2000001", False),
        ("CPUQuotaPerSecSec", "2", False),
        ("CPUQuotaPeriodUSec", "uint64 1", False),
        ("TimeoutStopUSec", "uint64 1", True),
        ("MemoryHigh", "uint64 9999999999", True),
    ],
)
def test_properties_of_systemd(name: str, value: str, stays: bool) -> None:
    key = f"org.systemd.property.{name}"
    found = capped({}, {key: value, "own": "1"})
    assert found["annotations"] == ({key: value, "own": "1"} if stays else {"own": "1"})


@pytest.mark.parametrize(
    ("before", "memory"),
    [
        ({}, {"limit": 2 * GIB, "swap": 2 * GIB}),
        ({"swap": -1}, {"limit": 2 * GIB, "swap": 2 * GIB}),
        ({"limit": GIB, "swap": -1}, {"limit": GIB, "swap": 2 * GIB}),
        ({"limit": GIB, "swap": GIB}, {"limit": GIB, "swap": GIB}),
        ({"limit": 3 * GIB, "swap": 4 * GIB}, {"limit": 2 * GIB, "swap": 2 * GIB}),
    ],
)
def test_memory_and_swap_together(before: dict[str, int], memory: dict[str, int]) -> None:
    assert capped({"memory": before}, max={"memorySwap": "2Gi"})["linux"]["resources"]["memory"] == memory


def test_swap_by_file() -> None:
    found = capped({"unified": {"memory.swap.max": "max"}}, max={"memorySwap": "2Gi"})
    assert found["linux"]["resources"]["unified"] == {"memory.swap.max": str(2 * GIB)}


def test_a_file_is_no_open_limit() -> None:
    """The default is for what is not limited at all."""
    found = capped({"unified": {"pids.max": "5"}}, default={"pids": 10})
    assert found["linux"]["resources"] == {"unified": {"pids.max": "5"}}


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"quota": -1, "period": 1000}, {"quota": 2000, "period": 1000}),
        ({"quota": 0}, {"quota": 200000, "period": 100000}),
        ({"shares": 262144}, {"shares": 262144, "quota": 200000, "period": 100000}),
        ({"quota": 3000, "period": 1000}, {"quota": 2000, "period": 1000}),
        ({"quota": 100, "period": 1000, "burst": 10**9}, {"quota": 100, "period": 1000, "burst": 10**9}),
    ],
)
def test_quota_and_period_belong_together(cpu: dict[str, int], expected: dict[str, int]) -> None:
    assert capped({"cpu": cpu}, max={"cpus": 2})["linux"]["resources"]["cpu"] == expected
