"""A run on several processors (pytest-xdist): which tests share a worker, in which order, and each worker's own mounts.

Tests of one file share a worker, and so do those of one folder where its daemons, packages or machine are made once:
for engines, those of each generation.
The long ones begin. A pytest plugin, which does nothing to a run on one processor.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.generations import LATER

# The folders and files that share what one of their fixtures makes, the longest first.
TOGETHER = {
    "vm": "vm",
    "engines": "engines",
    "security/test_gate_engines.py": "engines",
    "packaging": "packaging",
}
LONG = ("security", "runtime", "wrapper", "fleet", "bench")
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def group_of(nodeid: str) -> str:
    """The name of the share that a test is part of, which one worker gets as a whole."""
    path, _, test = nodeid.removeprefix("tests/").partition("::")
    group = next((group for start, group in TOGETHER.items() if path.startswith(start)), path)
    later = [release for release in LATER if release in test]
    return " ".join([group, *later])


def rank_of(group: str) -> int:
    """Groups of a low rank begin."""
    first = [*dict.fromkeys(TOGETHER.values()), *LONG]
    return next((rank for rank, name in enumerate(first) if re.split("[/ ]", group)[0] == name), len(first))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        items.sort(key=lambda item: rank_of(group_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What hands the tests to the workers, group by group."""
    return _Groups(config, log)


class _Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_configure(config: pytest.Config) -> None:
    if is_worker(config):
        _take_a_mount_namespace()


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _take_a_mount_namespace() -> None:
    """Some tests count the mounts around them, which another worker's containers may not change."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), f"a mount namespace: {os.strerror(ctypes.get_errno())}")
