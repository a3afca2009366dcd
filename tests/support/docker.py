"""A dockerd of the test's own: own socket, own directories, own bridge; nothing of the host's is touched."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.generations import HERE, Machine
from tests.support.runtimes import PATIENCE, Result, wait_for

DOCKERD = "/usr/sbin/dockerd"
DOCKER = "/usr/bin/docker"
_bridges = itertools.count()


class Docker:
    """A running dockerd and its client, both on `machine`."""

    def __init__(
        self, directory: Path, config: Path, env: dict[str, str] | None = None, machine: Machine = HERE
    ) -> None:
        self.machine = machine
        self.directory = directory
        self.socket = f"unix://{directory}/d.sock"
        self.log = directory / "dockerd.log"
        self._bridge = f"hrbr{os.getpid()}-{next(_bridges)}"
        self._config = config
        self._env = {**os.environ, **(env or {})}
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self._make_bridge()
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                self.machine.command(
                    DOCKERD,
                    *("--config-file", str(self._config)),
                    *("--data-root", f"{self.directory}/data"),
                    *("--exec-root", f"{self.directory}/exec"),
                    *("--host", self.socket),
                    *("--pidfile", f"{self.directory}/d.pid"),
                    *("--bridge", self._bridge),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._env,
            )
        wait_for(lambda: self("version").status == 0, f"dockerd to answer: {self.log}", 120)

    def reload(self) -> None:
        """Have the daemon read its configuration again."""
        assert self._daemon is not None
        self._daemon.send_signal(1)

    def stop(self) -> None:
        """Stop the daemon, its containerd and what is left of its mounts and bridge."""
        if self._daemon is not None:
            for container in self("ps", "-aq").out.split():
                self("rm", "-f", container)
            self._daemon.terminate()
            try:
                self._daemon.wait(60)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait(60)
            self._daemon = None
        self.machine.unmount_below(self.directory)
        words = self.machine.command("ip", "link", "delete", self._bridge)
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def _make_bridge(self) -> None:
        """A bridge of this daemon's own: docker0, and those of other tests, are other daemons'."""
        for words in (
            ["ip", "link", "add", self._bridge, "type", "bridge"],
            ["ip", "address", "add", _free_address(), "dev", self._bridge],
            ["ip", "link", "set", self._bridge, "up"],
        ):
            subprocess.run(self.machine.command(*words), stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)

    def client(self, *arguments: str) -> list[str]:
        """The words of a docker command for this daemon."""
        return self.machine.command(DOCKER, "--host", self.socket, *arguments)

    def __call__(self, *arguments: str, stdin: bytes | None = None, timeout: float = PATIENCE) -> Result:
        """Run a docker command to its end."""
        done = subprocess.run(
            self.client(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, "DOCKER_CONFIG": f"{self.directory}/client"},
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def check(self, *arguments: str, **options: Any) -> str:
        """Run a docker command that must succeed; returns its output."""
        result = self(*arguments, **options)
        assert result.status == 0, f"docker {' '.join(arguments)}: {result.err}{result.out}"
        return result.out.strip()

    def import_image(self, rootfs: Path, name: str) -> None:
        """Make an image of a directory."""
        tar = subprocess.run(
            ["tar", "-C", str(rootfs), "-c", "."],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=PATIENCE,
        )
        self.check("import", "-", name, stdin=tar.stdout)

    def inspect(self, container: str, template: str) -> str:
        return self.check("inspect", "--format", template, container)

    def wait_for_state(self, container: str, template: str, value: str) -> None:
        wait_for(lambda: self.inspect(container, template) == value, f"{container}'s {template} to be {value}")

    def wait_for_log(self, container: str, text: str) -> str:
        """Wait until the container has said something; returns all it said."""
        deadline = time.monotonic() + 60
        while True:
            result = self("logs", container)
            if text in result.out + result.err:
                return result.out + result.err
            assert time.monotonic() < deadline, f"{container} never said {text!r}: {result.out}{result.err}"
            time.sleep(0.05)


@contextmanager
def running(daemon: Docker, rootfs: Path, image: str) -> Iterator[Docker]:
    """A daemon with an image of a directory, stopped in the end."""
    try:
        daemon.start()
        daemon.import_image(rootfs, image)
        yield daemon
    finally:
        daemon.stop()


def _free_address() -> str:
    """An address of a network that this host has none of."""
    used = subprocess.run(
        ["ip", "-o", "-4", "address"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=PATIENCE,
    ).stdout
    return next(f"172.31.{number}.1/24" for number in range(213, 0, -1) if f" 172.31.{number}." not in used)
