"""A host that is configured by hookctl: hooks, settings, a launcher, all in directories of the test's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.generations import HERE, Machine
from tests.support.places import short_place
from tests.support.runtimes import HOOKCTL, Result, Runtime


class ConfiguredHost:
    """`config` and `state` as hookctl has them; `log` for what hooks write; `runtime` calls the launcher.

    hookctl runs on `machine`.
    """

    def __init__(self, place: Path, machine: Machine = HERE) -> None:
        self._machine = machine
        self.config = place / "etc"
        self.state = place / "state"
        self.log = place / "log"
        for directory in (self.log, self.config / "hooks.d"):
            directory.mkdir(parents=True)
        self.settings()
        self.launchers = self.state / "launchers"
        self.launcher = self.launchers / "hookrun"
        self.register("docker", place / "daemon.json")
        self.runtime = Runtime(self.launcher, place / "root")

    def close(self) -> None:
        """Remove the containers and take the seal away, without which its directory could not be removed."""
        self.runtime.delete_all()
        # Not every host has it mounted by now, and os.path.ismount does not know bind mounts of one filesystem.
        subprocess.run(["umount", "-l", self.state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def register(self, engine: str, file: Path, *options: str) -> None:
        """Register hookrun with an engine whose configuration is `file`."""
        result = self.hookctl("engine", "register", engine, "--file", str(file), *options)
        assert result.status == 0, result.err

    def settings(self, **hooks: Any) -> None:
        """Write config.yaml; `hooks` is its part of that name."""
        value = {"record": {"directory": str(self.state / "record")}, "hooks": hooks}
        (self.config / "config.yaml").write_text(json.dumps(value))

    def hookctl(self, *words: str) -> Result:
        done = subprocess.run(
            self._machine.command(HOOKCTL, "--config", self.config, "--state", self.state, *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def apply(self) -> None:
        result = self.hookctl("apply", "--yes")
        assert result.status == 0, result.err

    def script(self, name: str, text: str) -> str:
        """A program for a hook; returns its path."""
        path = self.config / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def hook(self, name: str, path: str, *stages: str, args: list[str] | None = None, **when: Any) -> None:
        """A file in hooks.d; without conditions, the hook is for every container."""
        hook = {"path": path, "args": args or [path]}
        value = {"version": "1.0.0", "hook": hook, "when": when or {"always": True}, "stages": stages}
        (self.config / "hooks.d" / name).write_text(json.dumps(value, indent=1))

    def lines(self, command: str = "") -> list[dict[str, Any]]:
        """The record's lines, those of one command where it is named."""
        file = self.state / "record/record.jsonl"
        lines = map(json.loads, file.read_text().splitlines() if file.exists() else [])
        return [line for line in lines if "notice" not in line and command in ("", line["command"])]


@contextmanager
def configured_host() -> Iterator[ConfiguredHost]:
    """A host in a directory of its own."""
    with short_place("hr-host-") as place:
        host = ConfiguredHost(place)
        try:
            yield host
        finally:
            host.close()
