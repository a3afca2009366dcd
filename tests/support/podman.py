"""Podman with storage, state and configuration of the test's own; nothing of the host's is touched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.generations import HERE, Machine
from tests.support.runtimes import PATIENCE, Result, wait_for

PODMAN = "/usr/bin/podman"

# Limits that need no CAP_SYS_RESOURCE, which the build machine lacks; no journal, no systemd.
_CONFIG = """
[engine]
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"""


class Podman:
    """`podman` with a runtime, on `machine`; `directory` holds all that it writes. `user` is who calls it, None for this one."""

    def __init__(
        self, directory: Path, runtime: Path | str, *options: str, user: int | None = None, machine: Machine = HERE
    ) -> None:
        self.machine = machine
        self.directory = directory
        self._as_user = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        directory.mkdir(exist_ok=True)
        (directory / "containers.conf").write_text(_CONFIG)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "yes",
        }
        self._words = [
            PODMAN,
            *("--root", f"{directory}/root", "--runroot", f"{directory}/run", "--tmpdir", f"{directory}/tmp"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", str(runtime)),
            *options,
        ]

    def __call__(self, *words: str, stdin: bytes | None = None, timeout: float = PATIENCE) -> Result:
        """Run a podman command to its end; its output goes to files, as what it leaves behind may keep it open."""
        out, err = self.directory / "out", self.directory / "err"
        with out.open("wb") as output, err.open("wb") as errors:
            done = subprocess.run(
                self.machine.command(*self._as_user, *self._words, *words),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=output,
                stderr=errors,
                timeout=timeout,
                env=self._environment,
                cwd=self.directory,
                check=False,
            )
        return Result(done.returncode, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def check(self, *words: str, **options: Any) -> str:
        """Run a podman command that must succeed; returns its output."""
        result = self(*words, **options)
        assert result.status == 0, f"podman {' '.join(words)}: {result.err}{result.out}"
        return result.out.strip()

    def import_image(self, rootfs: Path, name: str) -> None:
        """Make an image of a directory."""
        tar = ["tar", "-C", str(rootfs), "-c", "."]
        packed = subprocess.run(tar, capture_output=True, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE)
        self.check("import", "-", name, stdin=packed.stdout)

    def inspect(self, container: str, template: str) -> str:
        return self.check("inspect", "--format", template, container)

    def wait_for(self, container: str, template: str, value: str) -> None:
        wait_for(lambda: self.inspect(container, template) == value, f"{container}'s {template} to be {value}")

    def config(self, container: str) -> dict[str, Any]:
        """The container's config.json as it is now."""
        found: dict[str, Any] = json.loads(Path(self.inspect(container, "{{.OCIConfigPath}}")).read_text())
        return found

    def close(self) -> None:
        """Remove all containers and pods, and the mounts that their storage keeps."""
        self("pod", "rm", "--all", "--force", "--time", "0")
        self("rm", "--all", "--force", "--time", "0")
        if self._as_user:
            self("system", "migrate")  # which ends the process that holds his user namespace
        self.machine.unmount_below(self.directory)
