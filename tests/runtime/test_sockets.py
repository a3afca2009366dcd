"""What comes from outside by socket: NOTIFY_SOCKET, LISTEN_FDS, --pidfd-socket."""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id, wait_for


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory whose paths are short enough for a socket."""
    assert len(str(tmp_path)) < 90
    return tmp_path


@contextmanager
def notified(path: Path) -> Iterator[list[bytes]]:
    """systemd's end of NOTIFY_SOCKET: the datagrams that have come."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(str(path))
    came: list[bytes] = []

    def listen() -> None:
        while True:
            data = line.recv(4096)
            if data == b"stop":
                return
            came.append(data)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield came
    finally:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"stop", str(path))
        thread.join(60)
        line.close()


def saying(bundle: Bundle) -> Bundle:
    """A container that says sd_notify(3)'s words and stays. Its root has a Python, for busybox has no such socket."""
    for name in ("/usr", "/lib", "/lib64"):
        (bundle.rootfs / name.lstrip("/")).mkdir(exist_ok=True)
        bundle.add_mount(name, "bind", name, "bind", "ro")
    script = (
        "import os, socket, time\n"
        "line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "line.connect(os.environ['NOTIFY_SOCKET'])\n"
        "line.send(b'STATUS=loading')\n"
        "line.send(b'STATUS=up\\nREADY=1\\nERRNO=0')\n"
        "time.sleep(1000)\n"
    )
    return bundle.command("/usr/bin/python3", "-IS", "-c", script)


def test_readiness_reaches_who_called_start(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    """runc's notify_socket.go: READY= alone goes on, then MAINPID with the pid on the host."""
    saying(bundle)
    with notified(place / "n") as came:
        environment = {"NOTIFY_SOCKET": str(place / "n")}
        container = hookrun.create(bundle.path, env=environment)
        result = hookrun.call("start", container, env=environment)
        assert result.status == 0, result.err
        wait_for(lambda: len(came) == 2, "two messages")
        pid = hookrun.state(container)["pid"]
    assert came == [b"READY=1\n", b"MAINPID=%d\n" % pid]


def test_readiness_of_run_detached(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    hookrun.globals[1] += "/" + "r" * 100  # an engine's root may be longer than a socket's path
    saying(bundle)
    with notified(place / "n") as came:
        container = hookrun.run_detached(bundle.path, env={"NOTIFY_SOCKET": str(place / "n")})
        wait_for(lambda: len(came) == 2, "two messages")
        pid = hookrun.state(container)["pid"]
    assert came == [b"READY=1\n", b"MAINPID=%d\n" % pid]


def test_start_ends_with_a_container_that_is_never_ready(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    with notified(place / "n") as came:
        environment = {"NOTIFY_SOCKET": str(place / "n")}
        container = hookrun.create(bundle.command("sleep", "0.2").path, env=environment)
        assert hookrun.call("start", container, env=environment).status == 0
    assert came == []


def test_nobody_listens_outside(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.shell("env | grep -c NOTIFY; ls /run/notify")
    assert "No such file" in hookrun.run(bundle.path).err


def test_listening_descriptors_are_passed_on(bundle: Bundle, either: Runtime, place: Path) -> None:
    """sd_listen_fds(3): LISTEN_FDS descriptors from 3 on, LISTEN_PID the container's own first process."""
    bundle.shell("echo $LISTEN_FDS $LISTEN_PID $$; readlink /proc/$$/fd/3 | cut -d: -f1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place / "l"))
        script = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{listener.fileno()}'
        words = [either.program, *either.globals, "run", "--bundle", str(bundle.path), fresh_id("listen")]
        done = subprocess.run(
            ["bash", "-c", script, "sh", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=(listener.fileno(),),
        )
    assert done.stdout.splitlines() == ["1 1 1", "socket"], done.stderr


@contextmanager
def pidfd_taker(path: Path) -> Iterator[list[tuple[bytes, int]]]:
    """The other end of --pidfd-socket: what was said, and the descriptor."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)
    server.settimeout(60)
    taken: list[tuple[bytes, int]] = []

    def take() -> None:
        line, _ = server.accept()
        with line:
            data, control, _, _ = line.recvmsg(100, socket.CMSG_SPACE(4))
            taken.append((data, array.array("i", control[0][2][:4])[0]))

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield taken
    finally:
        thread.join(60)
        server.close()
        for _, descriptor in taken:
            os.close(descriptor)


def pid_behind(pidfd: int) -> int:
    line = next(line for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines() if line.startswith("Pid:"))
    return int(line.split()[1])


def test_pidfd_of_run(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    with pidfd_taker(place / "p") as taken:
        container = hookrun.run_detached(bundle.command("sleep", "1000").path, "--pidfd-socket", str(place / "p"))
        wait_for(lambda: bool(taken), "the pidfd")
        name, pidfd = taken[0]
        assert pid_behind(pidfd) == hookrun.state(container)["pid"]
        assert name
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        hookrun.wait_for_status(container, "stopped")


def test_pidfd_of_exec(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    container = hookrun.run_detached(bundle.command("sleep", "1000").path)
    pid_file = bundle.path / "pid"
    with pidfd_taker(place / "p") as taken:
        words = (
            "exec",
            "--detach",
            "--pid-file",
            str(pid_file),
            "--pidfd-socket",
            str(place / "p"),
            container,
            "sleep",
            "1000",
        )
        assert hookrun.call_leaving(*words, output=bundle.path / "out").status == 0
        wait_for(lambda: bool(taken), "the pidfd")
        assert pid_behind(taken[0][1]) == int(pid_file.read_text())


def test_pidfd_socket_that_nobody_listens_on(bundle: Bundle, hookrun: Runtime, place: Path) -> None:
    container_id = fresh_id()
    result = hookrun.run(bundle.path, "--pidfd-socket", str(place / "none"), container_id=container_id)
    assert result.status == 1
    assert f"dial unix {place}/none: connect: no such file or directory" in result.err
    assert hookrun.call("state", container_id).status == 1
