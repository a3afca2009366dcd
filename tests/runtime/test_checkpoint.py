"""checkpoint and restore by CRIU, with hookrun, with Debian's runc, and from one to the other."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import (
    COUNTER,
    Pipes,
    Saved,
    checkpoint,
    count,
    inside,
    restore,
    rich,
    start,
    wait_for_more,
    with_python,
)
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id, wait_for

pytestmark = pytest.mark.usefixtures("working_criu")


@pytest.mark.parametrize(
    ("saver", "restorer"), [("hookrun", "hookrun"), ("runc", "hookrun"), ("hookrun", "runc"), ("runc", "runc")]
)
def test_a_container_goes_on_where_it_was(
    bundle: Bundle, saved: Saved, request: pytest.FixtureRequest, saver: str, restorer: str
) -> None:
    first, second = request.getfixturevalue(saver), request.getfixturevalue(restorer)
    container_id = start(first, rich(bundle))
    wait_for_more(bundle, 5)
    before = inside(first, container_id)
    result = checkpoint(first, container_id, saved)
    assert result.status == 0, result.err
    assert first.call("state", container_id).status == 1
    assert leaks.cgroups(container_id) == []
    assert json.loads((saved.images / "descriptors.json").read_text())[0] == "/dev/null"
    reached = count(bundle)
    time.sleep(0.2)
    assert count(bundle) == reached
    pid_file = bundle.path / "pid"
    container_id = restore(second, bundle, saved, "--pid-file", str(pid_file))
    wait_for_more(bundle, reached)
    assert count(bundle) < reached + 400  # it did not begin anew, nor jump
    after = inside(second, container_id)
    if saver != restorer:  # runc's state.json has more
        del before["state"], after["state"]
    assert after == before
    state = second.state(container_id)
    assert state["status"] == "running"
    assert int(pid_file.read_text()) == state["pid"]
    own = [line.split(":")[2] for line in Path(f"/proc/{state['pid']}/cgroup").read_text().splitlines()]
    assert (
        own.count(f"/{container_id}")
        >= len(json.loads((second.root / container_id / "state.json").read_text())["cgroup_paths"]) - 1
    )
    assert second.call("delete", "--force", container_id).status == 0
    assert leaks.cgroups(container_id) == []
    assert [mount for mount in leaks.mounts() if str(bundle.path) in mount or container_id in mount] == []
    stages = (bundle.path / "stages").read_text().split()
    assert stages == ["prestart", "createRuntime", "poststart", "poststop", "prestart", "createRuntime", "poststop"]


def test_streams_that_are_pipes(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    bundle.shell("while read line; do echo got $line; done")
    container_id = either._note(fresh_id("ckp"))
    before, after = Pipes(), Pipes()
    before.call(either, "run", "--detach", "--bundle", str(bundle.path), container_id)
    before.ask("one", "got one")
    assert checkpoint(either, container_id, saved).status == 0
    assert json.loads((saved.images / "descriptors.json").read_text()) == before.names
    before.close()
    after.call(either, "restore", "--detach", "--bundle", str(bundle.path), *saved.flags(), container_id)
    after.ask("two", "got two")
    after.close()


def test_in_the_foreground(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    bundle.shell("read line; exit $line")
    container_id = either._note(fresh_id("ckf"))
    before, after = Pipes(), Pipes()
    before.call(either, "run", "--detach", "--bundle", str(bundle.path), container_id)
    assert checkpoint(either, container_id, saved).status == 0
    before.close()
    words = [either.program, *either.globals, "restore", "--bundle", str(bundle.path), *saved.flags(), container_id]
    with subprocess.Popen(words, stdin=after.reader, stdout=after.output, stderr=after.output) as restored:
        wait_for(lambda: either.call("state", container_id).status == 0, "the container to be back")
        os.write(after.writer, b"37\n")
        assert restored.wait(60) == 37
    after.close()
    assert either.call("state", container_id).status == 1
    assert leaks.cgroups(container_id) == []


def test_leave_running(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    container_id = start(either, rich(bundle))
    wait_for_more(bundle, 3)
    assert checkpoint(either, container_id, saved, "--leave-running").status == 0
    assert either.state(container_id)["status"] == "running"
    wait_for_more(bundle, count(bundle))
    assert either.call("delete", "--force", container_id).status == 0
    again = restore(either, bundle, saved)
    wait_for_more(bundle, count(bundle))
    assert either.call("delete", "--force", again).status == 0


SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 4000))
connection = listener.accept()[0].makefile("rwb", buffering=0)
number = 0
while line := connection.readline():
    number += 1
    connection.write(b"%d %s" % (number, line))
"""
CLIENT = """
import socket, sys, time
for _ in range(200):
    try:
        connection = socket.create_connection(("127.0.0.1", 4000))
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
file = connection.makefile("rwb", buffering=0)
for line in sys.stdin.buffer:
    file.write(line)
    sys.stdout.buffer.write(file.readline())
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def network() -> Iterator[str]:
    """A network namespace of the host's, as an engine makes one; its name."""
    name = fresh_id("ckns")
    for words in (["netns", "add", name], ["-n", name, "link", "set", "lo", "up"]):
        subprocess.run(["ip", *words], check=True, timeout=60)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


def test_a_connection_goes_on(either: Runtime, bundle: Bundle, saved: Saved, network: str) -> None:
    """The container serves a client outside; `--tcp-established` is what it takes."""
    next(entry for entry in bundle.linux["namespaces"] if entry["type"] == "network")["path"] = f"/run/netns/{network}"
    container_id = start(either, with_python(bundle, SERVER))
    words = ["ip", "netns", "exec", network, "/usr/bin/python3", "-uc", CLIENT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin and client.stdout
        try:
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"1 hello\n"
            refused = checkpoint(either, container_id, saved)
            assert refused.status == 1
            if either.name == "hookrun":
                assert "--tcp-established" in refused.err
            assert either.state(container_id)["status"] == "running"
            result = checkpoint(either, container_id, saved, "--tcp-established")
            assert result.status == 0, result.err
            container_id = restore(either, bundle, saved, "--tcp-established")
            client.stdin.write(b"again\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"2 again\n"
        finally:
            client.kill()
            either.delete_all()


LOCK = """
import fcntl, time
file = open("/lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
open("/locked", "w").close()
while True:
    time.sleep(1)
"""


def is_locked(bundle: Bundle) -> bool:
    with (bundle.rootfs / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_file_locks(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    container_id = start(either, with_python(bundle, LOCK))
    wait_for((bundle.rootfs / "locked").exists, "the lock")
    refused = checkpoint(either, container_id, saved)
    assert refused.status == 1
    if either.name == "hookrun":
        assert "--file-locks" in refused.err
    result = checkpoint(either, container_id, saved, "--file-locks")
    assert result.status == 0, result.err
    assert not is_locked(bundle)
    restore(either, bundle, saved, "--file-locks")
    assert is_locked(bundle)


def test_a_user_namespace(either: Runtime, bundle: Bundle, saved: Saved) -> None:
    saved.images.mkdir(mode=0o755)  # from within the user namespace CRIU has to read it
    bundle.with_user_namespace()
    bundle.add_mount("/scratch", "tmpfs", "tmpfs", "size=1m")
    bundle.shell(COUNTER)
    container_id = start(either, bundle)
    wait_for_more(bundle, 3)
    result = checkpoint(either, container_id, saved)
    assert result.status == 0, result.err
    reached = count(bundle)
    container_id = restore(either, bundle, saved)
    wait_for_more(bundle, reached)
    assert either.exec(container_id, "cat", "/proc/self/uid_map").out.split() == ["0", "100000", "65536"]
