"""The hot path's `os` against Python's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookrun.runtime.linux import os as ours

PATHS = st.text("/.ab\udcff ", max_size=12)


@given(PATHS, PATHS)
def test_paths(one: str, other: str) -> None:
    for name in ("split", "dirname", "basename", "normpath", "abspath", "exists", "lexists", "isdir", "realpath"):
        assert getattr(ours.path, name)(one) == getattr(os.path, name)(one), name
    assert ours.path.join(one, other) == os.path.join(one, other)
    if one and other:
        assert ours.path.relpath(one, other) == os.path.relpath(one, other)


@given(st.binary(max_size=20))
def test_any_bytes_come_back(data: bytes) -> None:
    assert ours.fsdecode(data) == data.decode("utf-8", "surrogateescape")
    assert ours.fsencode(ours.fsdecode(data)) == data


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "broken").symlink_to("nowhere/at/all")
    for path in ("link/bin/..", "broken", "broken/further"):
        assert ours.path.realpath(f"{tmp_path}/{path}") == os.path.realpath(f"{tmp_path}/{path}")


def test_directories_are_made(tmp_path: Path) -> None:
    ours.makedirs(f"{tmp_path}/a/b/c", 0o700)
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in ("a/b/c", "a/b")] == [0o700, 0o755]
    ours.makedirs(f"{tmp_path}/a/b/c", exist_ok=True)
    with pytest.raises(FileExistsError):
        ours.makedirs(f"{tmp_path}/a/b/c")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        ours.makedirs(f"{tmp_path}/file", exist_ok=True)
    with pytest.raises(NotADirectoryError):
        ours.makedirs(f"{tmp_path}/file/below", exist_ok=True)
    with pytest.raises(FileNotFoundError):
        ours.makedirs("/proc/nowhere/below", exist_ok=True)


def test_the_environment() -> None:
    assert ours.getenv("PATH") == os.environ["PATH"]
    assert (ours.getenv("HOOKRUN_NO_SUCH"), ours.getenv("HOOKRUN_NO_SUCH", "x")) == ("", "x")
