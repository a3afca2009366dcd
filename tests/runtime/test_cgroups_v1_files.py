"""What the v1 controllers that most kernels here lack write, on plain files in the place of a cgroup.

The rest of v1 is tested on the kernel's own files, beside runc. The expected texts are those of runc's cgroups/fs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hookrun.runtime.cgroups.files import FileError
from hookrun.runtime.cgroups.v1 import controllers as v1_controllers
from hookrun.runtime.cgroups.v1 import stats as v1_stats
from hookrun.runtime.documents import Resources, WeightDevice

DEVICE: WeightDevice = {"major": 8, "minor": 16}
HUGE: Resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 5}, {"pageSize": "1GB", "limit": 1 << 63}]}
HUGE_FILES = {"hugetlb.2MB.limit_in_bytes": "5", "hugetlb.1GB.limit_in_bytes": "9223372036854775808"}
RESERVED = {"hugetlb.2MB.rsvd.limit_in_bytes": "5", "hugetlb.1GB.rsvd.limit_in_bytes": "9223372036854775808"}
WEIGHTS: Resources = {
    "blockIO": {"weight": 10, "leafWeight": 20, "weightDevice": [{**DEVICE, "weight": 30, "leafWeight": 40}]}
}
LEAVES = {"blkio.leaf_weight": "20", "blkio.leaf_weight_device": "8:16 40"}

ROWS: list[tuple[str, Resources, dict[str, str]]] = [
    ("hugetlb", HUGE, {**HUGE_FILES, **RESERVED}),
    ("rdma", {"rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 0}}}, {"rdma.max": "mlx hca_handle=3 hca_object=0"}),
    ("rdma", {"rdma": {"mlx": {"hcaObjects": 7}}}, {"rdma.max": "mlx hca_object=7"}),
    ("blkio", WEIGHTS, {**LEAVES, "blkio.weight": "10", "blkio.weight_device": "8:16 30"}),
]


def cgroup(directory: Path, *names: str) -> str:
    for name in names:
        (directory / name).touch()
    return str(directory)


def written(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize(("controller", "limits", "expected"), ROWS, ids=[str(limits) for _, limits, _ in ROWS])
def test_files(controller: str, limits: Resources, expected: dict[str, str], tmp_path: Path) -> None:
    v1_controllers.apply(controller, cgroup(tmp_path, *expected), limits)
    assert written(tmp_path) == expected


def test_huge_pages_of_a_kernel_that_counts_no_reservations(tmp_path: Path) -> None:
    v1_controllers.apply("hugetlb", cgroup(tmp_path, *HUGE_FILES), HUGE)
    assert written(tmp_path) == HUGE_FILES


def test_a_size_of_huge_pages_that_the_kernel_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"hugetlb\.2MB\.limit_in_bytes: no such file or directory"):
        v1_controllers.apply("hugetlb", cgroup(tmp_path, *RESERVED), HUGE)


@pytest.mark.parametrize("kind", ["", ".rsvd"])
def test_huge_pages_are_counted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reservations where the kernel counts them, else the pages in use."""
    monkeypatch.setattr(v1_stats, "hugepage_sizes", lambda: ["2MB"])
    texts = {"usage_in_bytes": "4", "max_usage_in_bytes": "6", "failcnt": "2"}
    for name, text in texts.items():
        (tmp_path / f"hugetlb.2MB.{name}").write_text("77\n")
        (tmp_path / f"hugetlb.2MB{kind}.{name}").write_text(f"{text}\n")
    assert v1_stats.collect({"hugetlb": str(tmp_path)})["hugetlb"] == {"2MB": {"usage": 4, "max": 6, "failcnt": 2}}
