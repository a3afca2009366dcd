"""Driving a runtime's command line: hookrun's and, side by side, runc's and crun's."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
HOOKRUN = CHECKOUT / ".venv/bin/hookrun"
HOOKCTL = CHECKOUT / ".venv/bin/hookctl"
RUNC = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin") or "/usr/sbin/runc"
PATIENCE = 120.0
# HOOKRUN_TEST_DRIVER=systemd has systemd make every cgroup, where the machine has it.
BY_SYSTEMD = os.environ.get("HOOKRUN_TEST_DRIVER") == "systemd"
DRIVER_FLAGS = ("--systemd-cgroup",) if BY_SYSTEMD else ()

_numbers = itertools.count()


class Result(NamedTuple):
    """How a call ended."""

    status: int
    out: str
    err: str


def fresh_id(word: str = "t") -> str:
    """A container id that no other test, and no other run on this machine, has."""
    return f"hr-{word}-{os.getpid()}-{next(_numbers)}"


class Runtime:
    """One runtime with a state root of its own."""

    def __init__(self, program: Path | str, root: Path, *globals_: str) -> None:
        self.program = str(program)
        self.root = root
        self.globals = ["--root", str(root), *DRIVER_FLAGS, *globals_]
        self._made: list[str] = []

    @property
    def name(self) -> str:
        return Path(self.program).name

    def call(
        self,
        *arguments: str,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = PATIENCE,
        pass_fds: tuple[int, ...] = (),
        user: int | None = None,
    ) -> Result:
        """Run a command whose output ends with it: not one that leaves a container with these streams behind."""
        done = subprocess.run(
            [self.program, *self.globals, *arguments],
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin.encode() if stdin is not None else None,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            pass_fds=pass_fds,
            user=user,
            group=user,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def call_leaving(
        self,
        *arguments: str,
        output: Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Result:
        """Run a command that leaves a container behind, whose streams go to the file `output`."""
        with output.open("wb") as file:
            done = subprocess.run(
                [self.program, *self.globals, *arguments],
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=PATIENCE,
                pass_fds=pass_fds,
                check=False,
            )
        return Result(done.returncode, output.read_text(errors="replace"), "")

    def run(self, bundle: Path, *options: str, container_id: str | None = None, **call: Any) -> Result:
        """`run` in the foreground; the container is gone afterwards."""
        container_id = container_id or self._note(fresh_id())
        return self.call("run", "--bundle", str(bundle), *options, container_id, **call)

    def create(self, bundle: Path, *options: str, container_id: str | None = None, **call: Any) -> str:
        """`create`, which must succeed; returns the id. The container's output goes to `bundle`/ID.output."""
        container_id = self._note(container_id or fresh_id())
        output = bundle / f"{container_id}.output"
        result = self.call_leaving("create", "--bundle", str(bundle), *options, container_id, output=output, **call)
        assert result.status == 0, result.out
        return container_id

    def start(self, container_id: str) -> None:
        result = self.call("start", container_id)
        assert result.status == 0, result.err

    def run_detached(self, bundle: Path, *options: str, container_id: str | None = None, **call: Any) -> str:
        """`run --detach`, which must succeed; returns the id."""
        container_id = self._note(container_id or fresh_id())
        output = bundle / f"{container_id}.output"
        result = self.call_leaving(
            "run", "--detach", "--bundle", str(bundle), *options, container_id, output=output, **call
        )
        assert result.status == 0, result.out
        return container_id

    def state(self, container_id: str) -> dict[str, Any]:
        result = self.call("state", container_id)
        assert result.status == 0, result.err
        found: dict[str, Any] = json.loads(result.out)
        return found

    def exec(self, container_id: str, *arguments: str, **call: Any) -> Result:
        return self.call("exec", container_id, *arguments, **call)

    def wait_for_status(self, container_id: str, status: str) -> None:
        wait_for(lambda: self.state(container_id)["status"] == status, f"{container_id} to be {status}")

    def delete_all(self) -> None:
        """End and remove every container that was made through this object."""
        for container_id in self._made:
            self.call("delete", "--force", container_id)
        self._made.clear()

    def _note(self, container_id: str) -> str:
        self._made.append(container_id)
        return container_id


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Poll until the condition holds; fails the test when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
