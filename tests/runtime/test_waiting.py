"""A container between `create` and `start`, and what reaches its process: signals, descriptors, warnings, newlines.

And to whom its orphans go.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from hookrun.runtime.linux import memory
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime, fresh_id, wait_for

SLEEP = ("sleep", "1000")

# A parent that would have the container's orphans, if the runtime did not take them; it says who has one.
_PARENT = """
import ctypes, os, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
runtime = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
said, _ = runtime.communicate()
print({runtime.pid: "runtime", os.getpid(): "its parent"}[int(said.split()[1])])
"""
_ORPHAN = "touch /born; while test -d /proc/$PPID; do sleep 0.1; done; grep PPid: /proc/$$/status; touch /told"


@pytest.mark.parametrize("signal", ["HUP", "INT", "TERM", "KILL"])
def test_a_signal_ends_a_container_that_waits(bundle: Bundle, either: Runtime, signal: str) -> None:
    """The first process of a pid namespace gets no signal that it has no handler for: runc's has Go's."""
    container = either.create(bundle.command(*SLEEP).path)
    assert either.call("kill", container, signal).status == 0
    either.wait_for_status(container, "stopped")


def test_a_program_has_its_signals_back(bundle: Bundle, either: Runtime) -> None:
    """The handlers of the waiting process are none of the program's business."""
    bundle.shell("grep SigCgt /proc/self/status; trap 'echo told; exit 3' TERM; kill -TERM $$; sleep 1")
    result = either.run(bundle.path)
    assert (result.status, result.out.splitlines()[-1]) == (3, "told"), result
    assert int(result.out.split()[1], 16) & 0b100000000000011 == 0


def test_nobodys_descriptors_are_held(bundle: Bundle, hookrun: Runtime) -> None:
    with tempfile.TemporaryFile() as file:
        number = file.fileno()
        container = hookrun.create(bundle.command(*SLEEP).path, pass_fds=(number,))
        pid = hookrun.state(container)["pid"]
        own = {f"{hookrun.root}/{container}/exec.fifo"}
        # What the process needs to give memory back goes with that.
        wait_for(lambda: _beyond_streams(pid) == own, f"{own} to be all that is open")


@pytest.mark.skipif(os.geteuid() != 0, reason="maps what is mapped once more")
def test_no_descriptor_of_a_mapped_file_is_kept() -> None:
    """Whoever can look into the waiting process could open it for writing: of the heap, that would be the host."""
    before = _beyond_streams(os.getpid())
    spare = memory.Spare()
    spare.find_pages()
    try:
        assert spare.descriptors
        assert _beyond_streams(os.getpid()) - before == {f"/proc/{os.getpid()}/pagemap"}
    finally:
        spare.give_back()
    assert _beyond_streams(os.getpid()) == before


def _beyond_streams(pid: int) -> set[str]:
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found |= {os.readlink(f"/proc/{pid}/fd/{entry}")} if int(entry) > 2 else set()
    return found


def test_what_cannot_be_raised_is_warned_of(bundle: Bundle, either: Runtime) -> None:
    bundle.process["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted", "ambient")}
    bundle.config["ociVersion"] = "1.2.1"
    result = either.run(bundle.command("true").path)
    assert result.status == 0
    if either.name == "hookrun":  # runc does since 1.2
        assert "can't raise ambient capability CAP_KILL: operation not permitted" in result.err


def test_newlines_are_left_to_the_outer_terminal(bundle: Bundle, hookrun: Runtime) -> None:
    """From the first one on: the program may write before anybody has looked at its terminal."""
    bundle.process["terminal"] = True
    bundle.command("printf", "a\\nb\\n")
    assert {hookrun.run(bundle.path).out for _ in range(10)} == {"a\nb\n"}


def test_debug_tells_what_each_phase_took(bundle: Bundle, hookrun: Runtime) -> None:
    result = hookrun.call("--debug", "run", "--bundle", str(bundle.path), fresh_id())
    assert result.status == 0
    for phase in ("cgroups", "clone", "init", "finish"):
        assert f'level=debug msg="{phase}: ' in result.err


def test_debug_tells_of_runcs_steps_in_its_words(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.command(*SLEEP)
    told = []
    for runtime in (hookrun, runc):
        runtime.globals += ["--debug", "--log", str(bundle.path / "log")]
        container = runtime.run_detached(bundle.path)
        assert runtime.exec(container, "true").status == 0
        lines = (bundle.path / "log").read_text()
        (bundle.path / "log").unlink()
        told.append([re.sub(r"\[\d+\]", "[PID]", step) for step in re.findall('msg="([^"]*)"', lines)])
    steps = [
        step for step in told[0] if not step.endswith(" ms") and "affinity: 0x" not in step
    ]  # which runc tells since 1.3
    assert len(steps) == 6
    runcs = iter(told[1])
    assert all(step in runcs for step in steps), (steps, told[1])  # each after the one before


def test_exec_without_a_pid_namespace(bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.without_namespace("pid").command(*SLEEP).path)
    result = either.exec(container, "echo", "inside")
    assert (result.status, result.out) == (0, "inside\n"), result.err


def test_a_failing_poststart_hook_deletes_the_container(bundle: Bundle, hookrun: Runtime) -> None:
    """runtime.md, lifecycle: the container is stopped and destroyed, and its poststop hooks run."""
    mark = bundle.path / "poststop"
    bundle.config["hooks"] = {
        "poststart": [{"path": "/bin/false"}],
        "poststop": [{"path": "/usr/bin/touch", "args": ["touch", str(mark)]}],
    }
    container = hookrun.create(bundle.command(*SLEEP).path)
    result = hookrun.call("start", container)
    assert (result.status, "error running poststart hook #0: exit status 1" in result.err) == (1, True), result.err
    assert "does not exist" in hookrun.call("state", container).err
    assert mark.exists()
    assert leaks.cgroups(container) == []


def test_a_hook_without_env_has_the_runtimes(bundle: Bundle, either: Runtime) -> None:
    """Go's os/exec takes the caller's environment where none is given; crun's test-hook-env-inherit wants it too."""
    out = bundle.path / "env"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo $FROM_OUTSIDE > {out}"]}]
    }
    assert either.run(bundle.write().path, env={"FROM_OUTSIDE": "seen"}).status == 0
    assert out.read_text() == "seen\n"


def test_a_cgroup_below_an_empty_cpuset(bundle: Bundle, either: Runtime) -> None:
    """An engine makes a pod's cgroup by mkdir alone: its cpuset has neither CPUs nor nodes."""
    pod = f"/{fresh_id('pod')}"
    parents = [path for path in map(Path, ("/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/cpu")) if path.is_dir()]
    if not parents:
        pytest.skip("v2 has no empty cpusets")
    for parent in parents:
        (parent / pod.strip("/")).mkdir()
    bundle.linux["cgroupsPath"] = f"{pod}/inner"
    try:
        assert either.run(bundle.command("true").path).status == 0
    finally:
        for path in sorted(Path("/sys/fs/cgroup").glob(f"*{pod}")):
            path.rmdir()


def test_a_network_namespace_that_the_user_namespace_does_not_own(bundle: Bundle, hookrun: Runtime) -> None:
    """Joined with the host's rights, before the user namespace is (runc's nsexec.c)."""
    space = f"hr-ns-{os.getpid()}"
    holder = subprocess.Popen(["unshare", "-U", "sleep", "300"], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n", "the holder")
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536")
        subprocess.run(["ip", "netns", "add", space], stdin=subprocess.DEVNULL, check=True, timeout=60)
        bundle.with_user_namespace()
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        paths = {"user": f"/proc/{holder.pid}/ns/user", "network": f"/run/netns/{space}"}
        kept = [entry for entry in bundle.linux["namespaces"] if entry["type"] not in paths]
        bundle.linux["namespaces"] = kept + [{"type": kind, "path": path} for kind, path in paths.items()]
        result = hookrun.run(bundle.shell("readlink /proc/self/ns/net").path)
        assert result.status == 0, result.err
        assert result.out.strip() == f"net:[{os.stat(paths['network']).st_ino}]"
    finally:
        holder.kill()
        holder.wait(60)
        subprocess.run(["ip", "netns", "delete", space], stdin=subprocess.DEVNULL, check=False, timeout=60)


@pytest.mark.parametrize(
    ("options", "heir"), [((), "runtime"), (("--no-subreaper",), "its parent")], ids=["", "no-subreaper"]
)
def test_who_has_the_orphans_without_a_pid_namespace(
    bundle: Bundle, either: Runtime, options: tuple[str, ...], heir: str
) -> None:
    (bundle.rootfs / "orphan").write_text(_ORPHAN)
    (bundle.rootfs / "parent").write_text("sh /orphan & until test -e /born; do sleep 0.1; done")
    bundle.without_namespace("pid").shell("sh /parent; until test -e /told; do sleep 0.1; done")
    call = [either.program, *either.globals, "run", *options, "--bundle", str(bundle.path), fresh_id("orphan")]
    said = subprocess.run(
        ["/usr/bin/python3", "-c", _PARENT, *call],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    assert said == f"{heir}\n"
