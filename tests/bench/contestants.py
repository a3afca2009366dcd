"""The runtimes that race: how each is called, and how its containers are looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.bench import stopwatch
from tests.support.bundles import Bundle
from tests.support.runtimes import CHECKOUT, HOOKCTL, RUNC, wait_for


class Contestant:
    """A runtime with a root of its own."""

    def __init__(self, name: str, prefix: list[str], root: Path, bundle: Bundle) -> None:
        self.name = name
        self._prefix = prefix
        self._root = root
        self._bundle = bundle

    def words(self, *arguments: str) -> list[str]:
        return [*self._prefix, "--root", str(self._root), *arguments]

    def named(self, name: str) -> str:
        """A container's id: no two runtimes may share one, for its cgroup is named like it."""
        return f"{name}-{self.name}"

    def create(self, name: str) -> float:
        return stopwatch.spawn(self.words("create", "--bundle", str(self._bundle.path), self.named(name)))

    def start(self, name: str) -> float:
        return stopwatch.spawn(self.words("start", self.named(name)))

    def state(self, name: str) -> float:
        return stopwatch.spawn(self.words("state", self.named(name)))

    def delete(self, name: str) -> float:
        return stopwatch.spawn(self.words("delete", self.named(name)))

    def remove(self, name: str) -> float:
        return stopwatch.spawn(self.words("delete", "--force", self.named(name)))

    def run(self, name: str) -> float:
        return stopwatch.spawn(self.words("run", "--bundle", str(self._bundle.path), self.named(name)))

    def exec(self, name: str, *command: str) -> float:
        return stopwatch.spawn(self.words("exec", self.named(name), *command))

    def stand(self, name: str) -> int:
        """Create and start a container that stays; returns its process's pid."""
        self.create(name)
        self.start(name)
        return self.init_pid(name)

    def init_pid(self, name: str) -> int:
        pid: int = json.loads(self._state_text(name))["pid"]
        return pid

    def _state_text(self, name: str) -> str:
        return subprocess.run(
            self.words("state", self.named(name)),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=True,
        ).stdout

    def wait_for_end(self, name: str) -> None:
        wait_for(lambda: json.loads(self._state_text(name))["status"] == "stopped", "the container's end")

    def close(self) -> None:
        if self._root.exists():
            for entry in list(self._root.iterdir()):
                subprocess.run(
                    self.words("delete", "--force", entry.name),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )


def hookrun(place: Path, bundle: Bundle, plain: bool) -> Contestant:
    """hookrun by a registered launcher, its record below `place`."""
    launcher = registered(place, with_policies=not plain)
    # The first call mounts the seal; the record is there from the second on.
    (place / "hookrun-root").mkdir()
    subprocess.run([launcher, "--root", place / "hookrun-root", "list"], stdout=subprocess.DEVNULL, check=True)
    return Contestant("hookrun", [launcher], place / "hookrun-root", bundle)


def registered(place: Path, settings: str = "", with_policies: bool = False) -> str:
    """The launcher of a hookrun that has its snapshot, its record and more `settings` (YAML) below `place`."""
    state, config = place / "state", place / "config"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text(settings or f"record: {{directory: {place}/record}}\n")
    if with_policies:
        _write_policies(config / "policies.d")
    ctl = [str(HOOKCTL), "--config", str(config), "--state", str(state)]
    environment = {**os.environ, "PYTHONPATH": str(_installed(place / "lib"))}
    for words in (
        ["apply", "--yes"],
        ["engine", "register", "docker", "--daemon-json", str(place / "registered.json")],
    ):
        subprocess.run(
            [*ctl, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=120,
            check=True,
            env=environment,
        )
    return str(state / "launchers/hookrun")


def _installed(place: Path) -> Path:
    """The packages as a host has them: of a checkout, where files are edited, each start looks at every file."""
    for folder in ("hooks", "policies", "runtime", "wrapper"):
        shutil.copytree(CHECKOUT / folder, place / "hookrun" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def runc(place: Path, bundle: Bundle) -> Contestant:
    return Contestant("runc", [RUNC], place / "runc-root", bundle)


def with_crun(place: Path, bundle: Bundle) -> list[Contestant]:
    """crun, where it is installed."""
    program = shutil.which("crun")
    return [Contestant("crun", [program], place / "crun-root", bundle)] if program else []


_POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {{name: bench-{number}}}
spec:
  match:
    all:
      - {{annotation: bench.example/never, matches: '^team-{number}$'}}
      - {{field: /process/user/uid, in: [{number}, {next}]}}
  deny:
    - when: {{any: [{{field: /mounts/*/source, matches: '^/never/{number}(/|$)'}}]}}
      message: never said
  merge: {{linux: {{readonlyPaths: [/proc/bus]}}}}
  hooks:
    {stage}:
      - {{path: /usr/bin/true, args: ["true"], timeout: 5}}
"""
_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def _write_policies(directory: Path, count: int = 20) -> None:
    """Policies with a hook for every stage that match none of the bench's containers."""
    directory.mkdir(parents=True)
    for number in range(count):
        text = _POLICY.format(number=number, next=number + 1, stage=_STAGES[number % len(_STAGES)])
        (directory / f"bench-{number:02d}.yaml").write_text(text)
