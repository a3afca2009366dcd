"""What CRIU saves by a flag alone, and what the other flags of checkpoint and restore change, beside Debian's runc."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import (
    COUNTER,
    Console,
    Saved,
    checkpoint,
    count,
    restore,
    start,
    try_restore,
    wait_for_more,
    with_python,
)
from tests.runtime.test_checkpoint_bats import in_terminal
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id

pytestmark = pytest.mark.usefixtures("working_criu")

COUNTING = """
import time
os.mkdir("/counts")
number = 0
while True:
    number += 1
    os.mkdir(f"/counts/{number}")
    time.sleep(0.02)
"""
# A file that is open under a name that it has no more, and has another name.
REMAPPED = """
import os
file = open("/first", "w")
os.link("/first", "/second")
os.unlink("/first")
"""
# A connection that nobody has accepted yet.
IN_FLIGHT = """
import os, socket
listener = socket.create_server(("127.0.0.1", 4001))
client = socket.create_connection(("127.0.0.1", 4001))
"""
# A hook that brings up the loopback device of a new container.
UP = 'nsenter -t "$(sed -n "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/p")" -n ip link set lo up'
# What is sent goes to a socket of the host's.
EXTERNAL = """
import os, socket
peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
peer.connect("{}/peer")
"""


def saved_by_a_flag_alone(runtime: Runtime, bundle: Bundle, saved: Saved, script: str, says: str, *flags: str) -> None:
    """A container is saved with the first of the flags, and not with the others alone; what is said then."""
    flag, *always = flags
    container_id = start(runtime, with_python(bundle, script))
    wait_for_more(bundle, 2)
    refused = checkpoint(runtime, container_id, saved, *always)
    assert refused.status == 1
    if runtime.name == "hookrun":
        assert says in refused.err
    assert runtime.state(container_id)["status"] == "running"
    result = checkpoint(runtime, container_id, saved, flag, *always)
    assert result.status == 0, result.err


def test_a_file_under_another_name(hookrun: Runtime, bundle: Bundle, saved: Saved) -> None:
    """Debian's runc has no such flag yet."""
    saved_by_a_flag_alone(hookrun, bundle, saved, REMAPPED + COUNTING, "link-remap", "--link-remap")
    reached = count(bundle)
    restore(hookrun, bundle, saved)
    wait_for_more(bundle, reached)


def test_a_connection_that_nobody_has_accepted(hookrun: Runtime, bundle: Bundle, saved: Saved) -> None:
    """Debian's runc has no such flag yet."""
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", UP], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]
    }
    saved_by_a_flag_alone(
        hookrun, bundle, saved, IN_FLIGHT + COUNTING, "skip-in-flight", "--tcp-skip-in-flight", "--tcp-established"
    )
    reached = count(bundle)
    restore(hookrun, bundle, saved, "--tcp-established")
    wait_for_more(bundle, reached)


def test_a_socket_whose_other_end_is_the_hosts(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    # CRIU looks for the other end in the container's network namespace, and connects to it by the name it was bound to.
    with (
        tempfile.TemporaryDirectory(prefix="hr-ext-") as shared,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        bundle.without_namespace("network").add_mount(shared, "bind", shared, "bind")
        script = EXTERNAL.format(shared) + COUNTING.replace(
            "    time.sleep", '    peer.send(b"%d" % number)\n    time.sleep'
        )
        peer.bind(f"{shared}/peer")
        peer.settimeout(60)
        saved_by_a_flag_alone(either, bundle, saved, script, "--ext-unix-sk", "--ext-unix-sk")
        reached = count(bundle)
        restore(either, bundle, saved, "--ext-unix-sk")
        while int(peer.recv(100)) <= reached:
            pass


@pytest.mark.parametrize(("saver", "restorer"), [("hookrun", "runc"), ("runc", "hookrun")])
def test_a_shell_on_a_terminal(
    bundle: Bundle, saved: Saved, console: Console, request: pytest.FixtureRequest, saver: str, restorer: str
) -> None:
    """`--shell-job`, which containerd's shim always passes, from one runtime to the other."""
    first, second = request.getfixturevalue(saver), request.getfixturevalue(restorer)
    container_id = in_terminal(first, bundle, console)
    console.answer("number=41", "41")
    result = checkpoint(first, container_id, saved, "--shell-job")
    assert result.status == 0, result.err
    restore(second, bundle, saved, "--shell-job", "--console-socket", str(console.place), container_id=container_id)
    console.accept()
    console.answer("echo still $((number + 1))", "still 42")


def test_a_terminal_that_is_the_callers(bundle: Bundle, either: Runtime, saved: Saved) -> None:
    """`--shell-job` leaves out a terminal that is not the container's own. CRIU 4.2 brings neither runtime's back here."""
    master, slave = os.openpty()
    try:
        container_id = either._note(fresh_id("cksj"))
        words = ["run", "--detach", "--bundle", str(bundle.command("sleep", "1000").path), container_id]
        line = [either.program, *either.globals, *words]
        assert subprocess.run(line, stdin=slave, stdout=slave, stderr=slave, timeout=60, check=False).returncode == 0
        refused = checkpoint(either, container_id, saved)
        assert refused.status == 1
        if either.name == "hookrun":
            assert "--shell-job" in refused.err
        assert either.state(container_id)["status"] == "running"
        result = checkpoint(either, container_id, saved, "--shell-job")
        assert result.status == 0, result.err
    finally:
        os.close(master)
        os.close(slave)


def cgroups_of(runtime: Runtime, container_id: str) -> list[str]:
    """Where a container's first process is, with a word for the container's id."""
    text = Path(f"/proc/{runtime.state(container_id)['pid']}/cgroup").read_text()
    return sorted(line.split(":", 1)[1].replace(container_id, "ID") for line in text.splitlines())


@pytest.mark.parametrize("mode", ["soft", "full", "ignore", "strict"])
def test_manage_cgroups_mode(hookrun: Runtime, runc: Runtime, bundle: Bundle, mode: str) -> None:
    """In which cgroups it is brought back. By `strict` none may be there, and there always is one (runc 1.5 says so too)."""
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m").shell(COUNTER)
    flags = ["--manage-cgroups-mode", mode]
    # Debian's runc knows no `ignore`, and restores softly whatever it is told.
    for runtime in (hookrun, runc) if mode in ("soft", "full") else (hookrun,):
        saved = Saved(bundle.path / f"{runtime.name}-images", bundle.path / f"{runtime.name}-work")
        container_id = start(runtime, bundle)
        wait_for_more(bundle, 3)
        before = cgroups_of(runtime, container_id)
        assert checkpoint(runtime, container_id, saved, *flags).status == 0
        result = try_restore(runtime, bundle, saved, *flags, container_id=container_id)
        if mode == "strict":
            assert result.status == 1
            assert "existing cgroups" in result.err
            return
        assert result.status == 0, result.err
        assert cgroups_of(runtime, container_id) == before
        assert runtime.call("delete", "--force", container_id).status == 0


FLAGS_OF_RESTORE = [
    ["--empty-ns", "network"],
    ["--no-subreaper", "--no-pivot"],
    ["--lsm-profile", "apparmor:nosuch"],
    ["--lsm-profile", "nonsense"],
    ["--lsm-mount-context", "system_u:object_r:container_file_t:s0"],
]


def test_flags_of_restore(hookrun: Runtime, runc: Runtime, bundle: Bundle, saved: Saved) -> None:
    """What is brought back with each, if it is; tests/vm has --lsm-profile where AppArmor is."""
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m").shell(COUNTER)
    container_id = start(hookrun, bundle)
    wait_for_more(bundle, 3)
    assert checkpoint(hookrun, container_id, saved, "--empty-ns", "network").status == 0
    for flags in FLAGS_OF_RESTORE:
        seen = []
        for runtime in (hookrun, runc):
            status = try_restore(runtime, bundle, saved, *flags, container_id=runtime._note(container_id)).status
            seen.append((status, runtime.call("state", container_id).status))
            runtime.call("delete", "--force", container_id)
        assert seen[0] == seen[1], flags
