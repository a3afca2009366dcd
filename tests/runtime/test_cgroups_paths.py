"""Where a container's cgroups are, that nothing of them stays, and who is in them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.cgroup_support import (
    ROOT,
    UNIFIED,
    cgroup,
    cgroups_of,
    is_empty,
    kept_state,
    path_for,
    relative_cgroup,
    sleeping,
    v1_only,
)
from tests.runtime.parity import told
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, Runtime, fresh_id, wait_for

PATHS = (
    ["", "system.slice:hr:{id}", ":hr:{id}", "::{id}", "hr-a-b.slice:hr:{id}", "-.slice:hr:{id}", "user.slice:h-r:{id}"]
    if BY_SYSTEMD
    else ["", "/{id}", "{id}", "/{id}/below/deep", "{id}/below", "/../../{id}", "../{id}", "/{id}//x/../y/"]
)
BAD_PATHS = [
    "/{id}",
    "{id}",
    "a:{id}",
    "a:b:c:{id}",
    "a.slice/b:hr:{id}",
    "-a.slice:hr:{id}",
    "a--b.slice:hr:{id}",
    "a:hr:{id}",
]


# A hierarchy of v1 that runc has joined since 1.2.
MISC = "misc"


def cgroups_but_misc(pid: int) -> list[str]:
    return [line for line in cgroups_of(pid) if not line.startswith(f"{MISC}:")]


def remove_parents(name: str) -> None:
    """What runc leaves as well: the parents of a cgroup given by a path."""
    for top in leaks.cgroups(name):
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_those_of_runc(path: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    container = fresh_id()
    bundle.linux["cgroupsPath"] = path.format(id=container)
    sleeping(bundle)
    try:
        hookrun.create(bundle.path, container_id=container)
        ours = kept_state(hookrun, container)["cgroup_paths"]
        ours.pop(MISC, None)
        our_place = cgroups_but_misc(hookrun.state(container)["pid"])
        hookrun.delete_all()
        assert not [path for path in ours.values() if os.path.exists(path)]
        runc.create(bundle.path, container_id=container)
        assert ours == kept_state(runc, container)["cgroup_paths"]
        assert our_place == cgroups_but_misc(runc.state(container)["pid"])
    finally:
        hookrun.delete_all()
        runc.delete_all()
        remove_parents(container)


@pytest.mark.skipif(not BY_SYSTEMD, reason="without systemd any path will do")
@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_are_no_units(path: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    container = fresh_id()
    bundle.linux["cgroupsPath"] = path.format(id=container)
    sleeping(bundle)
    ours, theirs = (told(runtime.run(bundle.path, container_id=container)) for runtime in (hookrun, runc))
    assert ours == theirs
    assert ours[0] == "status 1"
    assert leaks.cgroups(container) == []


def test_cgroups_of_the_container_go_with_it(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle)
    container = hookrun.run_detached(bundle.path)
    paths = [Path(path) for path in kept_state(hookrun, container)["cgroup_paths"].values()]
    for path in paths:
        # Controllers that are mounted together have one directory.
        (path / "inner/most").mkdir(parents=True, exist_ok=True)
    assert hookrun.call("delete", "--force", container).status == 0
    assert not [path for path in paths if path.exists()]


def test_a_process_in_a_sub_cgroup_is_killed_and_its_cgroup_removed(bundle: Bundle, hookrun: Runtime) -> None:
    sleeping(bundle)
    container = hookrun.run_detached(bundle.path)
    pid = hookrun.state(container)["pid"]
    sub = cgroup(hookrun, container, "pids") / "inner"
    sub.mkdir()
    (sub / "cgroup.procs").write_text(str(pid))
    assert hookrun.call("delete", "--force", container).status == 0
    assert not sub.exists()


def test_processes_of_sub_cgroups_are_listed(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    bundle.shell("sleep 1000 & exec sleep 1000")
    container = either.run_detached(bundle.path)
    directory = cgroup(either, container, "devices")
    wait_for(lambda: len((directory / "cgroup.procs").read_text().split()) == 2, "two processes")
    pid = either.state(container)["pid"]
    (directory / "inner").mkdir()
    (directory / "inner/cgroup.procs").write_text(str(pid))
    listed = either.call("ps", "--format", "json", container)
    assert listed.status == 0
    assert str(pid) in listed.out.strip("[]\n").split(",")
    assert len(listed.out.split(",")) == 2


def test_no_cgroup_is_left_by_a_create_that_fails(bundle: Bundle, hookrun: Runtime) -> None:
    container = fresh_id()
    sleeping(bundle).command("/no/such/program")
    hookrun.call_leaving("run", "--bundle", str(bundle.path), container, output=bundle.path / "output")
    assert leaks.cgroups(container) == []


def exec_detached(runtime: Runtime, container: str, directory: Path, *options: str) -> int:
    """Pid of a new process in the container that sleeps."""
    pid_file = directory / "pid"
    command = ("exec", "--detach", *options, "--pid-file", str(pid_file), container, "sleep", "1000")
    result = runtime.call_leaving(*command, output=directory / "exec.output")
    assert result.status == 0, result.out
    return int(pid_file.read_text())


def test_exec_enters_the_cgroups(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    expected = cgroups_of(either.state(container)["pid"])
    output = bundle.path / "exec.output"
    pid_file = bundle.path / "pid"
    result = either.call_leaving(
        "exec", "--detach", "--pid-file", str(pid_file), container, "sleep", "1000", output=output
    )
    assert result.status == 0
    assert cgroups_of(int(pid_file.read_text())) == expected


def test_exec_enters_the_sub_cgroups_that_it_is_told(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    (cgroup(either, container, "pids") / "inner").mkdir()
    pid = exec_detached(either, container, bundle.path, "--cgroup", "inner" if UNIFIED else "pids:inner")
    assert str(pid) in (cgroup(either, container, "pids") / "inner/cgroup.procs").read_text().split()
    own = (cgroup(either, container, "memory") / "cgroup.procs").read_text().split()
    assert (str(pid) in own) == (not UNIFIED)


@pytest.mark.parametrize("path", ["../..", "nosuch"] if UNIFIED else ["pids:../..", "nosuch:x"])
def test_exec_refuses_sub_cgroups_outside(path: str, bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    result = either.call("exec", "--cgroup", path, container, "true")
    assert result.status == 255
    # runc 1.5's and 1.1's words.
    words = (
        "bad sub cgroup path: ../..",
        "../.. is not a sub cgroup path",
        "unknown controller nosuch in SubCgroupPaths",
        "nosuch: no such file or directory",
        "nosuch/cgroup.procs: no such file or directory",
    )
    assert any(text in result.err for text in words)


@v1_only
@pytest.mark.parametrize("path", ["nosuch", "cpu:nosuch"])
def test_exec_into_a_sub_cgroup_that_is_missing(path: str, bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    """The process writes "0", itself, into `tasks`, runc another's pid into `cgroup.procs`; the words are the same."""
    seen = []
    for runtime in (hookrun, runc):
        container = fresh_id()
        # Absolute, for runc takes the controllers in any order, and the caller may be in other cgroups of some.
        bundle.linux["cgroupsPath"] = path_for(container)
        runtime.run_detached(sleeping(bundle).path, container_id=container)
        *_, said = told(runtime.call("exec", "--cgroup", path, container, "true"), container)
        said = re.sub(r"(pid|write) \d+", r"\1 PID", said)
        seen.append(re.sub(r"/sys/fs/cgroup/\w+(\S*)/(tasks|cgroup\.procs)", r"CGROUP\1", said))
    assert seen[0] == seen[1]


@v1_only
def test_paused_container_is_frozen_and_goes_on(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    freezer = cgroup(either, container, "freezer") / "freezer.state"
    assert either.call("pause", container).status == 0
    assert freezer.read_text() == "FROZEN\n"
    assert either.state(container)["status"] == "paused"
    assert either.call("pause", container).err.endswith('msg="container not running"\n')
    assert either.call("resume", container).status == 0
    assert freezer.read_text() == "THAWED\n"
    assert either.state(container)["status"] == "running"
    refused = either.call("resume", container)
    assert refused.status == 1
    assert refused.err.endswith('msg="container not paused"\n')


@pytest.mark.skipif(BY_SYSTEMD, reason="the cgroup above is a slice, with more in it")
def test_a_cgroup_above_that_is_frozen_does_not_make_the_container_paused(bundle: Bundle, either: Runtime) -> None:
    container = fresh_id()
    bundle.linux["cgroupsPath"] = f"/{container}/inner"
    sleeping(bundle)
    try:
        either.create(bundle.path, container_id=container)
        freeze(container, True)
        wait_for(lambda: is_frozen(container), "the cgroup to freeze")
        assert either.state(container)["status"] == "created"
    finally:
        freeze(container, False)
        either.delete_all()
        remove_parents(container)


def test_everybody_gets_the_signal(bundle: Bundle, either: Runtime) -> None:
    """Without a pid namespace of its own, the end of the first process is not that of the others."""
    sleeping(bundle).without_namespace("pid")
    bundle.shell("sleep 1000 & sleep 1000 & exec sleep 1000")
    container = either.run_detached(bundle.path)
    procs = cgroup(either, container, "devices") / "cgroup.procs"
    wait_for(lambda: len(procs.read_text().split()) == 3, "three processes")
    pids = procs.read_text().split()
    assert either.call("kill", "--all", container, "KILL").status == 0
    wait_for(lambda: is_empty(procs.parent), "the processes to be gone")
    wait_for(lambda: not any(_runs(pid) for pid in pids), "the processes to have ended")


@pytest.fixture(name="taken")
def fixture_taken() -> Iterator[str]:
    """The id of a container whose cgroups are there already, for a process of somebody else's."""
    name = fresh_id()
    tops = [ROOT] if UNIFIED else [ROOT / "devices", ROOT / "freezer"]
    paths = [top / relative_cgroup(name) for top in tops]
    for path in paths:
        path.mkdir()
    yield name
    freeze(name, False)
    for path in paths:
        path.rmdir()


def freeze(name: str, frozen: bool) -> None:
    if UNIFIED:
        (ROOT / relative_cgroup(name) / "cgroup.freeze").write_text(str(int(frozen)))
    else:
        (ROOT / "freezer" / relative_cgroup(name) / "freezer.state").write_text("FROZEN" if frozen else "THAWED")


def is_frozen(name: str) -> bool:
    if UNIFIED:
        return "frozen 1" in (ROOT / relative_cgroup(name) / "cgroup.events").read_text()
    return (ROOT / "freezer" / relative_cgroup(name) / "freezer.state").read_text() == "FROZEN\n"


def test_a_cgroup_with_processes_is_not_taken(taken: str, bundle: Bundle, hookrun: Runtime) -> None:
    """runc has refused it since 1.2; 1.1 warns. What is in there stays as it is."""
    bundle.linux["cgroupsPath"] = path_for(taken)
    sleeping(bundle)
    procs = (ROOT if UNIFIED else ROOT / "devices") / relative_cgroup(taken) / "cgroup.procs"
    with subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) as other:
        try:
            procs.write_text(str(other.pid))
            result = hookrun.call_leaving(
                "create", "--bundle", str(bundle.path), fresh_id(), output=bundle.path / "output"
            )
            assert result.status == 1
            assert "container's cgroup is not empty: 1 process(es) found" in result.out
            assert procs.read_text() == f"{other.pid}\n"
        finally:
            other.kill()
    wait_for(lambda: not procs.read_text(), "the process to be gone")


def test_a_frozen_cgroup_is_not_taken(taken: str, bundle: Bundle, hookrun: Runtime) -> None:
    bundle.linux["cgroupsPath"] = path_for(taken)
    sleeping(bundle)
    freeze(taken, True)
    result = hookrun.call_leaving("create", "--bundle", str(bundle.path), fresh_id(), output=bundle.path / "output")
    assert result.status == 1
    assert "container's cgroup unexpectedly frozen" in result.out


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
