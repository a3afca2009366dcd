"""sd_notify from inside a container: its own socket, whose READY= reaches the caller's (runc: notify_socket.go)."""

from __future__ import annotations

import os
import select
import socket
from typing import Any

from hookrun.runtime.documents import Config, MountEntry
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import pids

_IN_CONTAINER = "/run/notify"
_FILE = "notify.sock"


def add_to(config: Config, directory: str) -> None:
    """Have the config show the container its socket, from a place made in its state `directory`. Raises Failure."""
    place = f"{directory}/notify"
    with failing(f"mkdir {place}"):
        os.mkdir(place, 0o755)
    mount: MountEntry = {
        "destination": _IN_CONTAINER,
        "source": place,
        "type": "bind",
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    config["mounts"] = [*(config.get("mounts") or []), mount]
    process = config["process"]
    process["env"] = [*(process.get("env") or []), f"NOTIFY_SOCKET={_IN_CONTAINER}/{_FILE}"]


class Proxy:
    """The container's socket on the host's side."""

    __slots__ = ("_host", "_path", "_socket")

    def __init__(self, directory: str, host: str) -> None:
        self._path = f"{directory}/notify/{_FILE}"
        self._host = "\0" + host[1:] if host.startswith("@") else host
        self._socket: Any = None

    def bind(self) -> None:
        """Make the socket, writable for the container's user. Raises Failure."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        with failing(f"listen unixgram {self._path}: bind"):
            directory = os.open(os.path.dirname(self._path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # By its directory's descriptor: a socket's path has 107 bytes at most (unix(7)), an engine's root more.
                self._socket.bind(f"/proc/self/fd/{directory}/{_FILE}")
            finally:
                os.close(directory)
            os.chmod(self._path, 0o777)

    def forward_ready(self, pidfd: int, main_pid: int) -> None:
        """Wait until the container says READY= and pass it on with MAINPID=, or until its process ends."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._socket.fileno() in ready:
                line = _ready_line(self._socket.recv(4096))
                if line:
                    self._send(line, main_pid)
                    return
            elif pidfd in ready:
                return

    def forward_ready_of(self, pid: int, main_pid: int) -> None:
        """The same for a process that is known by its pid alone."""
        try:
            pidfd = pids.open_pidfd(pid)
        except OSError:
            return
        try:
            self.forward_ready(pidfd, main_pid)
        finally:
            os.close(pidfd)

    def _send(self, line: bytes, main_pid: int) -> None:
        host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            host.connect(self._host)
            host.send(line + b"\n")
            host.send(b"MAINPID=%d\n" % main_pid)
        except OSError as error:
            raise Failure(f"dial unixgram {self._host}: {reason(error)}") from None
        finally:
            host.close()


def _ready_line(data: bytes) -> bytes:
    return next((line for line in data.split(b"\n") if line.startswith(b"READY=")), b"")
