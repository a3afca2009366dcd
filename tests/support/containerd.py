"""A containerd of the test's own: own root, state and socket."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.generations import HERE, Machine
from tests.support.runtimes import PATIENCE, Result, wait_for

CONTAINERD = "/usr/bin/containerd"
CTR = "/usr/bin/ctr"


class Containerd:
    """A running containerd, and `ctr` for it, both on `machine`.

    `plugins` are TOML lines for its configuration, without which CRI is off. `path` is its $PATH, for another containerd
    than the system's with its shim.
    """

    def __init__(self, directory: Path, plugins: str = "", namespace: str = "default", machine: Machine = HERE) -> None:
        self.machine = machine
        self.directory = directory
        self.namespace = namespace
        self.socket = directory / "c.sock"
        self.log = directory / "containerd.log"
        self.config = directory / "config.toml"
        disabled = [] if plugins else ["io.containerd.grpc.v1.cri"]
        lines = [
            "version = 2",
            f'root = "{directory}/root"',
            f'state = "{directory}/state"',
            f"disabled_plugins = {json.dumps(disabled)}",
            f'[grpc]\naddress = "{self.socket}"',
            plugins,
        ]
        self.config.write_text("\n".join(lines))
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                self.machine.command("containerd", "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: self("version").status == 0, f"containerd to answer: {self.log}", 120)

    def stop(self) -> None:
        """Remove all tasks and containers, then end the daemon and what is left of its mounts."""
        for name in self("container", "ls", "-q").out.split():
            self.remove(name)
        if self._daemon is not None:
            self._daemon.terminate()
            try:
                self._daemon.wait(60)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait(60)
        self.machine.unmount_below(self.directory)

    def __call__(self, *words: str) -> Result:
        """Run a ctr command to its end; its output goes to files, as what it leaves behind may keep it open."""
        out, err = self.directory / "out", self.directory / "err"
        with out.open("wb") as output, err.open("wb") as errors:
            done = subprocess.run(
                self.machine.command(CTR, "--address", str(self.socket), "--namespace", self.namespace, *words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                timeout=PATIENCE,
                cwd=self.directory,
                check=False,
            )
        return Result(done.returncode, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def check(self, *words: str) -> str:
        """Run a ctr command that must succeed; returns its output."""
        result = self(*words)
        assert result.status == 0, f"ctr {' '.join(words)}: {result.err}{result.out}"
        return result.out.strip()

    def status(self, name: str) -> str:
        """The state of a container's task: RUNNING, STOPPED ...; "" where it has none."""
        rows = [line.split() for line in self.check("task", "ls").splitlines()[1:]]
        return next((row[2] for row in rows if row[0] == name), "")

    def wait_for_status(self, name: str, status: str) -> None:
        wait_for(lambda: self.status(name) == status, f"{name}'s task to be {status!r}")

    def remove(self, name: str) -> None:
        """End a container's task and remove both."""
        self("task", "rm", "--force", name)
        self("container", "rm", name)
