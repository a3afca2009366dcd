"""Where a path really leads: what a plain python3 works out by ctypes. The gate's tests have hookrun-start's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hookrun.runtime.linux import paths, statx


@pytest.mark.parametrize("path", ["/", "/dev/null", "/proc/self/status", "/proc/self/exe", "/etc/.."])
def test_a_status_is_that_of_stat(path: str) -> None:
    found, status = statx.of_path(path)
    expected = os.stat(path)
    assert found == os.path.realpath(path)
    assert status.identity == (expected.st_dev, expected.st_ino)
    assert (status.links, status.uid, status.mode) == (expected.st_nlink, expected.st_uid, expected.st_mode)
    assert status.special == expected.st_rdev
    assert status.is_mount_root == os.path.ismount(found)


def test_the_mount_is_that_of_mountinfo(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        _, status = statx.of_descriptor(file.fileno())
        lines = Path(f"/proc/self/fdinfo/{file.fileno()}").read_text().splitlines()
    assert f"mnt_id:\t{status.mount_id}" in lines


@pytest.mark.parametrize(("path", "error"), [("/nosuch", FileNotFoundError), ("/a\0b", ValueError)])
def test_what_is_not_there(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        statx.of_path(path)


def test_a_link_that_nobody_can_follow() -> None:
    """It was an internal error in Python's words where a policy asked for a bind's source."""
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        path = f"/proc/{ended.pid}/cwd/run"
        assert paths.realpath(path) == path
