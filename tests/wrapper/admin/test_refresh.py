"""`hookctl refresh`: what an upgrade has to write anew."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wrapper.admin.support import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    subprocess.run(["umount", "-l", made.state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def test_a_host_where_nothing_is_registered(desk: Desk) -> None:
    assert "no launcher is registered" in desk.check("refresh")
    assert (desk.state / "heap").exists()
    assert list((desk.state / "seal").iterdir())


def test_every_launcher_is_written_anew(desk: Desk, tmp_path: Path) -> None:
    names = ("hookrun", "hookrun-audit")
    for name in names:
        desk.check("engine", "register", "docker", "--name", name, "--file", tmp_path / "daemon.json")
    wanted = [(desk.state / "launchers" / name).read_text() for name in names]
    for name in names:
        (desk.state / "launchers" / name).write_text("#!/usr/bin/python3.2\n")
    heap = desk.state / "heap"
    heap.write_bytes(b"of an older version")
    (desk.state / "code").write_bytes(b"what 0.1.0 had in its place")
    assert "hookrun, hookrun-audit" in desk.check("refresh")
    assert [(desk.state / "launchers" / name).read_text() for name in names] == wanted
    version = subprocess.run([desk.state / "launchers/hookrun", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert version.stdout.startswith("hookrun version ")
    assert heap.read_bytes() != b"of an older version"
    assert not (desk.state / "code").exists()
