"""`hookctl refresh`: what an upgrade has to write anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.admin import doctor, launcher
from hookrun.wrapper.admin.finding import GOOD, Finding
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.start import program
from tests.support import warm
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
    version = subprocess.run(
        [desk.state / "launchers/hookrun", "--version"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert version.stdout.startswith("hookrun version ")
    assert heap.read_bytes() != b"of an older version"
    assert not (desk.state / "code").exists()


def damage_content(state: Path) -> None:
    with (state / "heap").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no heap": (lambda state: (state / "heap").unlink(), "there is none"),
    "a short heap": (lambda state: os.truncate(state / "heap", 5000), "it is damaged"),
    "a damaged heap": (damage_content, program.DAMAGED),
    "a heap that others can write": (lambda state: (state / "heap").chmod(0o666), "users other than root can write it"),
    "no seal": (lambda state: shutil.rmtree(state / "seal"), "hookrun-start is gone"),
    "a launcher that is noise": (lambda state: (state / "launchers/hookrun").write_bytes(b"\xff\xfe"), "is gone"),
    "an older launcher": (
        lambda state: (state / "launchers/hookrun").write_text("#!/usr/bin/python3\n"),
        "is not what this hookctl writes",
    ),
    "a launcher that is no program": (lambda state: (state / "launchers/hookrun").chmod(0o644), "can't be executed"),
}


@pytest.mark.skipif(not warm.START.exists(), reason="hookrun-start was not built: see packaging/build-start.sh")
def test_what_doctor_advises_mends_the_start(desk: Desk, tmp_path: Path) -> None:
    desk.check("engine", "register", "docker", "--file", tmp_path / "daemon.json")
    machine = Host(desk.config, desk.state)
    for name, (damage, words) in DAMAGES.items():
        damage(desk.state)
        found = [finding for finding in findings(machine) if finding.state != GOOD]
        assert words in " ".join(finding.text for finding in found), name
        assert all("`hookctl refresh`" in finding.advice or "first call" in finding.text for finding in found), (
            name,
            found,
        )
        launcher.refresh(desk.state)  # as `hookctl refresh`, without its own start
        launched = [str(desk.state / "launchers/hookrun"), "--root", str(tmp_path / "root"), "state", "none"]
        (tmp_path / "root").mkdir(exist_ok=True)
        done = subprocess.run(
            launched, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
        assert "container does not exist" in done.stderr, name
        assert {finding.state for finding in findings(machine) if "first call" not in finding.text} == {GOOD}, name


def findings(machine: Host) -> list[Finding]:
    return [doctor._seal(machine), doctor._start(machine), *doctor._launchers(machine)]
