"""`hookctl doctor`: what it finds on this host, and on hosts where containers would fail."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hookrun.runtime.linux import syscalls
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin import doctor, engines
from hookrun.wrapper.admin.finding import BAD, GOOD, NOTE
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.start import program
from tests.support.runtimes import HOOKCTL, Result


@pytest.fixture
def machine(tmp_path: Path) -> Host:
    for name in ("etc", "state"):
        (tmp_path / name).mkdir(mode=0o755)
    return Host(tmp_path / "etc", tmp_path / "state")


def call(machine: Host, *words: str) -> Result:
    done = subprocess.run(
        [HOOKCTL, "--config", machine.config, "--state", machine.state, "doctor", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_this_host_can_run_containers(machine: Host) -> None:
    result = call(machine)
    assert result.status == 0, result.out + result.err
    for subject in (
        "kernel",
        "cgroups",
        "seccomp",
        "user namespaces",
        "CRIU",
        "security modules",
        "idmapped mounts",
        "snapshot",
        "sealed program",
        "start",
        "record",
    ):
        assert subject in result.out
    assert os.uname().release in result.out
    found = json.loads(call(machine, "--json").out)
    assert {entry["state"] for entry in found} <= {GOOD, NOTE}
    assert all(entry["advice"] or entry["state"] == GOOD or "first call" in entry["text"] for entry in found)


def test_a_damaged_snapshot_is_bad_unless_allowed(machine: Host) -> None:
    machine.snapshot.write_bytes(b"noise")
    machine.snapshot.chmod(0o644)
    result = call(machine)
    assert result.status == 1
    assert "hookctl apply" in result.out
    (machine.state / snapshot.ON_ERROR).write_text("allow")
    assert call(machine).status == 0


def test_a_directory_that_others_can_write(machine: Host) -> None:
    machine.config.chmod(0o777)
    result = call(machine)
    assert result.status == 1
    assert f"chmod go-w {machine.config}" in result.out


def test_a_launcher_without_its_interpreter(machine: Host) -> None:
    machine.launchers.mkdir()
    (machine.launchers / "hookrun").write_text("#!/nonexistent/python -ISXutf8\n")
    (found,) = doctor._launchers(machine)
    assert found.state == BAD


@pytest.mark.parametrize(
    ("entry", "state", "word"),
    [
        ({"path": "{launchers}/hookrun"}, GOOD, "runtime hookrun, the default"),
        ({"path": "{launchers}/hookrun", "runtimeArgs": ["--x"]}, NOTE, "runtimeArgs"),
        ({"path": "{launchers}/gone"}, BAD, "can't be executed"),
        ({"path": "/usr/sbin/runc"}, NOTE, "hookrun is not registered in"),
    ],
)
def test_docker(machine: Host, entry: dict[str, object], state: str, word: str) -> None:
    machine.launchers.mkdir()
    launcher = machine.launchers / "hookrun"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    config = machine.config / "daemon.json"
    entry = {**entry, "path": str(entry["path"]).format(launchers=machine.launchers)}
    config.write_text(json.dumps({"default-runtime": "hookrun", "runtimes": {"hookrun": entry}}))
    (found,) = doctor._engines(machine, [engines.of(engines.Kind.DOCKER, config)])
    assert found.state == state
    assert word in found.text


def test_docker_with_a_broken_file(machine: Host) -> None:
    config = machine.config / "daemon.json"
    config.write_text("{")
    (found,) = doctor._engines(machine, [engines.of(engines.Kind.DOCKER, config)])
    assert found.state == BAD


def test_every_engine_of_the_host_is_named(machine: Host) -> None:
    subjects = [finding["subject"] for finding in json.loads(call(machine, "--json").out)]
    assert {engine.name for engine in engines.found()} <= set(subjects)
    (none,) = doctor._engines(machine, [])
    assert none.state == NOTE


def test_cgroup_layouts() -> None:
    v1 = "25 24 0:21 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n26 24 0:22 / /sys/fs/cgroup/m rw - cgroup cgroup rw,memory\n"
    (none,) = doctor._cgroups("1 0 0:1 / / rw - ext4 /dev/sda rw\n")
    assert none.state == BAD
    layout, missing = doctor._cgroups(v1)
    assert layout.text == "v1"
    assert (missing.state, missing.text) == (NOTE, "no controller for pids")
    assert next(iter(doctor._cgroups(v1 + "27 24 0:23 / /sys/fs/cgroup/u rw - cgroup2 cgroup2 rw\n"))).text.startswith(
        "hybrid"
    )


def test_a_runtime_that_is_gone() -> None:
    assert doctor._delegate("/nonexistent").state == BAD


def test_why_hookrun_starts_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Host(tmp_path, tmp_path)
    monkeypatch.setattr(program, "find", lambda: tmp_path / "hookrun-start")
    monkeypatch.setattr(program, "problem", lambda state: "it is damaged")
    found = doctor._start(machine)
    assert (found.state, found.advice) == (NOTE, "`hookctl refresh` makes the heap again")
    assert found.text.endswith(": it is damaged")
    monkeypatch.setattr(program, "problem", lambda state: "")
    assert doctor._start(machine).state == GOOD


def test_a_criu_that_works_lacks_a_feature_or_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "criu"
    monkeypatch.setattr(doctor, "_ROOTS_PATH", str(tmp_path))
    assert doctor._criu().text == "not installed"
    for script, state, wanted in (
        ("exit 0", GOOD, str(program)),
        ('test -z "$2" || exit 1', GOOD, "no pre-dumps with this kernel, no lazy pages with this kernel"),
        ("echo Error: no vDSO >&2; exit 1", NOTE, "Error: no vDSO"),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        found = doctor._criu()
        assert (found.state, wanted in found.text) == (state, True), found
        assert found.advice or state == GOOD


def test_a_kernel_that_no_container_starts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mount is made with the calls of Linux 5.12, as README says."""
    monkeypatch.setattr(doctor, "_has", lambda number, *arguments: number != syscalls.NR.mount_setattr)
    found = doctor._kernel()
    assert found.state == BAD
    assert "5.12" in found.advice
