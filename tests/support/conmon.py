"""CRI-O's calls of conmon and of the runtime, replayed: internal/oci/runtime_oci.go, argument by argument.

No package of CRI-O is here; its monitor, conmon, is. What CRI-O calls itself goes through a program named crio.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.bundles import BUSYBOX, Bundle
from tests.support.generations import HERE, Machine
from tests.support.runtimes import PATIENCE, Result, wait_for

CONMON = shutil.which("conmon", path="/usr/libexec/podman:/usr/bin:/usr/sbin") or ""


class Crio:
    """The part of CRI-O that makes and ends containers, with the conmon of `machine`; `directory` holds what it writes."""

    def __init__(self, directory: Path, machine: Machine = HERE) -> None:
        self._machine = machine
        self._exits = directory / "exits"
        self._sockets = directory / "sockets"
        self._root = directory / "root"
        for path in (directory, self._exits, self._sockets, self._root):
            path.mkdir(exist_ok=True)
        self._program = directory / "crio"
        shutil.copy(BUSYBOX, self._program)
        self._environment = {"CRI_O_EXTERNAL": "1", "PATH": os.environ["PATH"]}

    def create(self, container: str, bundle: Bundle, runtime: Path) -> int:
        """CreateContainer; returns the init process's pid. Raises RuntimeError with conmon's message."""
        place = bundle.path
        words: list[str | Path] = [
            *("-b", place, "-c", container, "--exit-dir", self._exits, "-l", place / "log", "--log-level", "info"),
            *(
                "-n",
                f"k8s_{container}",
                "-P",
                place / "conmon-pidfile",
                "-p",
                place / "pidfile",
                "--persist-dir",
                place,
            ),
            *("-r", runtime, "--runtime-arg", f"--root={self._root}", "--socket-dir-path", self._sockets, "--syslog"),
            *("-u", container),
        ]
        answer = self._monitored(*words)
        if answer["pid"] < 0:
            raise RuntimeError(answer["message"])
        pid: int = answer["pid"]
        return pid

    def exec_sync(self, container: str, process: dict[str, Any], runtime: Path) -> Result:
        """ExecSyncContainer."""
        with tempfile.TemporaryDirectory(prefix="crio-exec-") as name:
            place = Path(name)
            (place / "process").write_text(json.dumps(process))
            words: list[str | Path] = [
                *(
                    "-c",
                    container,
                    "-n",
                    f"k8s_{container}",
                    "-r",
                    runtime,
                    "-p",
                    place / "pidfile",
                    "-e",
                    "-l",
                    place / "log",
                ),
                *("--socket-dir-path", self._sockets, "--log-level", "info", "--sync"),
                *("--log-global-size-max", str(16 * 1024 * 1024)),
                *("--exec-process-spec", place / "process", "--runtime-arg", f"--root={self._root}"),
            ]
            answer = self._monitored(*words)
            lines = [line.split(" ", 3) for line in (place / "log").read_text().splitlines()]
        out, err = ("".join(f"{line[3]}\n" for line in lines if line[1] == stream) for stream in ("stdout", "stderr"))
        return Result(answer["exit_code"], out, err)

    def _monitored(self, *words: str | Path) -> dict[str, Any]:
        """Run conmon with its two pipes; returns what it says over the first."""
        said, tell = os.pipe()
        waits, go = os.pipe()
        environment = {**self._environment, "_OCI_SYNCPIPE": str(tell), "_OCI_STARTPIPE": str(waits)}
        monitor = subprocess.Popen(
            self._machine.command(CONMON, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=(tell, waits),
        )
        os.close(tell)
        os.close(waits)
        os.write(go, b"\0")
        os.close(go)
        monitor.wait(PATIENCE)
        with open(said, "rb") as pipe:
            found: dict[str, Any] = json.loads(pipe.readline())
        return found

    def call(self, runtime: Path, *words: str, stdin: str = "") -> Result:
        """RuntimeCmd: what crio calls by itself, `--root` first. Called by a process that is crio, as the record asks."""
        done = subprocess.run(
            self._machine.command(
                *("bash", "-c", 'exec -a busybox "$0" "$@"', str(self._program)),
                *("sh", "-c", '"$@"; exit $?', "sh", str(runtime), "--root", str(self._root), *words),
            ),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self._environment,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, runtime: Path, *words: str, stdin: str = "") -> str:
        result = self.call(runtime, *words, stdin=stdin)
        assert result.status == 0, result.err
        return result.out

    def stop(self, container: str, runtime: Path) -> int:
        """StopContainer: SIGTERM, then waiting for the file that conmon leaves; returns the exit status."""
        file = self._exits / container
        self.check(runtime, "kill", container, "TERM")
        wait_for(file.exists, f"conmon to note the end of {container}")
        assert json.loads(self.check(runtime, "state", container))["status"] == "stopped"
        return int(file.read_text())

    def delete(self, container: str, runtime: Path) -> None:
        """DeleteContainer."""
        self.check(runtime, "delete", "--force", container)
        (self._exits / container).unlink(missing_ok=True)
