"""A state.json that is damaged: no command but `delete --force` touches the container, and that one ends it alone."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hookrun.runtime.container import container
from hookrun.runtime.errors import Failure
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, wait_for

Damage = dict[str, Any]


def running(bundle: Bundle, hookrun: Runtime) -> tuple[str, int]:
    """A container with a poststop hook that leaves a file; its id and its first process."""
    mark = bundle.path / "poststop-ran"
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {mark}"]}]}
    container_id = hookrun.run_detached(bundle.command("sleep", "1000").path)
    return container_id, hookrun.state(container_id)["pid"]


DAMAGES = ["empty", "cut", "zeros", "missing", "another type"]


def damage(path: Path, kind: str) -> bytes:
    """Damage a state file; what it held before."""
    before = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "another type":
        path.write_text(json.dumps({**json.loads(before), "init_process_pid": "5"}))
    else:
        path.write_bytes({"empty": b"", "cut": before[: len(before) // 2], "zeros": bytes(len(before))}[kind])
    return before


@pytest.mark.parametrize("kind", DAMAGES)
def test_delete_touches_nothing_without_force(kind: str, bundle: Bundle, hookrun: Runtime) -> None:
    container_id, pid = running(bundle, hookrun)
    directory = hookrun.root / container_id
    before = damage(directory / "state.json", kind)
    names = sorted(os.listdir(directory))
    cgroups = leaks.cgroups(container_id)
    result = hookrun.call("delete", container_id)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert sorted(os.listdir(directory)) == names
    assert leaks.cgroups(container_id) == cgroups != []
    (directory / "state.json").write_bytes(before)
    assert hookrun.state(container_id) | {"status": "running", "pid": pid} == hookrun.state(container_id)
    assert not (bundle.path / "poststop-ran").exists()
    assert hookrun.call("delete", "--force", container_id).status == 0
    assert (bundle.path / "poststop-ran").exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_force_ends_it_and_runs_its_hooks(kind: str, bundle: Bundle, hookrun: Runtime) -> None:
    neighbour = hookrun.run_detached(bundle.command("sleep", "1000").path)
    container_id, _ = running(bundle, hookrun)
    damage(hookrun.root / container_id / "state.json", kind)
    result = hookrun.call("delete", "--force", container_id)
    assert (result.status, result.err) == (0, "")
    assert not (hookrun.root / container_id).exists()
    assert leaks.cgroups(container_id) == []
    assert (bundle.path / "poststop-ran").exists()
    assert hookrun.state(neighbour)["status"] == "running"


def test_force_kills_no_process_by_a_number_alone(bundle: Bundle, hookrun: Runtime) -> None:
    """Neither by a pid whose start time is another's, nor by a cgroup that another container has by now."""
    bundle.linux["cgroupsPath"] = f"/hr-shared-{os.getpid()}"
    old, _ = running(bundle, hookrun)
    assert hookrun.call("kill", old, "KILL").status == 0
    hookrun.wait_for_status(old, "stopped")
    state = hookrun.root / old / "state.json"
    kept = json.loads(state.read_text())
    bystander = hookrun.run_detached(bundle.command("sleep", "1000").path)
    living = hookrun.state(bystander)["pid"]
    state.write_text(json.dumps({**kept, "init_process_pid": living, "created": 5}))
    hookrun.call("delete", "--force", old)
    assert hookrun.state(bystander)["status"] == "running"
    assert not (hookrun.root / old).exists()


def test_force_says_so_where_nothing_tells_the_processes(bundle: Bundle, hookrun: Runtime) -> None:
    container_id, _ = running(bundle, hookrun)
    directory = hookrun.root / container_id
    before = damage(directory / "state.json", "zeros")
    notes = (directory / "creating.json").read_bytes()
    (directory / "creating.json").write_bytes(b"")
    result = hookrun.call("delete", "--force", container_id)
    assert result.status == 1
    assert f"{directory}: cannot tell which processes are the container's" in result.err
    (directory / "state.json").write_bytes(before)
    (directory / "creating.json").write_bytes(notes)
    assert hookrun.state(container_id)["status"] == "running"


COMMANDS = ["state", "kill", "exec", "start", "ps", "pause", "resume", "update", "events"]


def test_every_other_command_says_so_in_one_line(bundle: Bundle, hookrun: Runtime) -> None:
    container_id, _ = running(bundle, hookrun)
    state = hookrun.root / container_id / "state.json"
    before = damage(state, "zeros")
    for command in COMMANDS:
        more = {"exec": ["true"], "update": ["--pids-limit", "5"], "kill": ["KILL"]}.get(command, [])
        flags = ["--stats"] if command == "events" else []
        result = hookrun.call(
            command, *flags, *([*more, container_id] if command == "update" else [container_id, *more])
        )
        assert result.status == (255 if command == "exec" else 1), command
        assert f"{state}: damaged state file" in result.err
        assert result.err.count("\n") == 1
    listed = hookrun.call("list")
    assert listed.status == 0
    assert f"load container {container_id}: {state}: damaged" in listed.err
    state.write_bytes(before)
    assert hookrun.state(container_id)["status"] == "running"


STATE = {
    "id": "c",
    "init_process_pid": 5,
    "init_process_start": 77,
    "created": "2026-01-01T00:00:00Z",
    "cgroup_paths": {"": "/sys/fs/cgroup/x"},
    "intel_rdt_path": "",
    "config": {
        "rootfs": "/r",
        "oci_version": "1.0.2",
        "labels": ["a=b", "bundle=/b"],
        "hook_stages": ["poststop"],
        "namespaces": [{"type": "NEWPID", "path": ""}],
        "cgroups": {"name": "c"},
    },
}
OTHERS = [None, 5, -1, True, 1 << 70, 1.5, "x", [], {}, [5], [None], {"a": 5}, [{"type": 5, "path": ""}]]


def places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path] if path else []
    if isinstance(value, dict) and path not in (("cgroup_paths",), ("config", "cgroups")):
        for name, inner in value.items():
            found += places(inner, (*path, name))
    return found


@pytest.mark.parametrize("place", places(STATE), ids=".".join)
def test_every_field_of_another_type_is_found(place: tuple[str, ...], tmp_path: Path) -> None:
    """What `load` lets pass, every command can work with: no field of it is an internal error later."""
    (tmp_path / "c").mkdir()
    for other in OTHERS:
        state = copy.deepcopy(STATE)
        inner: Any = state
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = other
        (tmp_path / "c/state.json").write_text(json.dumps(state))
        try:
            found = container.load(str(tmp_path), "c")
        except Failure as failure:
            assert "damaged state file" in failure.text
            continue
        assert (found.status(), found.bundle in ("/b", "")) == ("stopped", True)
        found.annotations, found.cgroups(), found.has_own_pid_namespace(), found.has_mount_namespace()
        found.config_has_hooks("poststop")


def test_keys_of_a_state_in_another_case(tmp_path: Path) -> None:
    """Go's decoder, and so runc, reads them."""
    (tmp_path / "c").mkdir()
    text = json.dumps(STATE).replace("init_process_pid", "Init_Process_PID").replace('"config"', '"CONFIG"')
    (tmp_path / "c/state.json").write_text(text)
    assert container.load(str(tmp_path), "c").init_pid == 5


def test_a_create_that_was_killed_is_cleaned_up_without_force(bundle: Bundle, hookrun: Runtime) -> None:
    container_id, _ = running(bundle, hookrun)
    assert hookrun.call("kill", container_id, "KILL").status == 0
    hookrun.wait_for_status(container_id, "stopped")
    directory = hookrun.root / container_id
    (directory / "state.json").unlink()
    os.mkfifo(directory / "exec.fifo")
    assert hookrun.call("delete", container_id).status == 1
    wait_for(lambda: not directory.exists(), "the directory's end")
