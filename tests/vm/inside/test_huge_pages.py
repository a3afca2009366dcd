"""Huge pages, of which the machine gets a few: a container has as many as its limit says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.cgroup_support import MIB, sleeping
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

POOL = Path("/proc/sys/vm/nr_hugepages")
PAGES = 8


@pytest.fixture(autouse=True)
def pool() -> Iterator[None]:
    before = POOL.read_text()
    POOL.write_text(str(PAGES))
    assert int(POOL.read_text()) == PAGES
    yield
    POOL.write_text(before)


@pytest.fixture
def limited(bundle: Bundle) -> Bundle:
    """A container with two huge pages, and a file system of them."""
    sleeping(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}])
    return bundle.add_mount("/huge", "hugetlbfs", "hugetlbfs", "pagesize=2M")


def test_a_limit_acts_on_the_container(limited: Bundle, either: Runtime) -> None:
    limited.shell("fallocate -l 4M /huge/most && echo within; fallocate -l 2M /huge/more || echo beyond")
    result = either.run(limited.path)
    assert result.out == "within\nbeyond\n", result


def test_statistics_count_them(limited: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    limited.shell("fallocate -l 2M /huge/one; fallocate -l 6M /huge/more; touch /tmp/done; sleep 1000")
    seen = []
    for runtime in (hookrun, runc):
        container = runtime.run_detached(limited.path)
        runtime.exec(container, "sh", "-c", "until test -e /tmp/done; do sleep 0.1; done; rm /tmp/done")
        seen.append(json.loads(runtime.call("events", "--stats", container).out)["data"]["hugetlb"])
    assert seen[0] == seen[1]
    assert seen[0]["2MB"]["usage"] == 4 * MIB  # what was had of the second file stays
    assert seen[0]["2MB"]["failcnt"] > 0
