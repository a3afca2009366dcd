"""The main job: hookrun registered by hookctl, a hook and an overlay on every container, every call on record."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engines.conftest import IMAGE
from tests.support import leaks
from tests.support.docker import Docker
from tests.support.generations import Machine
from tests.support.runtimes import HOOKCTL, fresh_id

POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {{name: every-container}}
spec:
  patch:
    - {{op: add, path: /process/env/-, value: FROM_POLICY=yes}}
  merge: {{linux: {{sysctl: {{kernel.msgmax: '5000'}}}}}}
  hooks:
    createRuntime:
      - {{path: /bin/sh, args: [sh, -c, 'cat >> {place}/hook-calls; echo >> {place}/hook-calls'], timeout: 10}}
"""


class Site:
    """A host's directories, a daemon of its own, and hookctl on both."""

    def __init__(self, place: Path, machine: Machine) -> None:
        self.place = place
        self._machine = machine
        self.daemon_json = place / "daemon.json"
        self.docker = Docker(place, self.daemon_json, machine=machine)

    def hookctl(self, *words: str) -> str:
        done = subprocess.run(
            self._machine.command(HOOKCTL, "--config", self.place / "etc", "--state", self.place / "state", *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def policy(self, name: str, text: str) -> None:
        directory = self.place / "etc/policies.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)

    def lines(self) -> list[dict[str, object]]:
        """The record."""
        text = (self.place / "state/record/record.jsonl").read_text()
        return [line for line in map(json.loads, text.splitlines()) if "argv" in line]

    def run(self, *words: str) -> str:
        return self.docker.check("run", "--rm", "--runtime", "hookrun", "--network", "none", *words)


@pytest.fixture(scope="module")
def site(place: Path, machine: Machine, image_rootfs: Path) -> Iterator[Site]:
    site = Site(place, machine)
    try:
        site.policy("all.yaml", POLICY.format(place=place))
        site.hookctl("apply", "--yes")
        site.hookctl("engine", "register", "docker", "--daemon-json", str(site.daemon_json))
        site.docker.start()
        site.docker.import_image(image_rootfs, IMAGE)
        yield site
    finally:
        site.docker.stop()


def test_hook_overlay_and_record(site: Site) -> None:
    calls = site.place / "hook-calls"
    calls.unlink(missing_ok=True)
    name = fresh_id("main")
    out = site.docker.check(
        "run",
        "--name",
        name,
        "--runtime",
        "hookrun",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo $FROM_POLICY; cat /proc/sys/kernel/msgmax",
    )
    assert out.split() == ["yes", "5000"]
    container = site.docker.inspect(name, "{{.Id}}")
    states = [json.loads(line) for line in calls.read_text().splitlines() if line.strip()]
    assert [state["id"] for state in states] == [container], "the hook runs once for a container"
    site.docker.check("start", name)
    site.docker.check("rm", "-f", name)
    commands = [line for line in site.lines() if line["container"] == container]
    seen = [line["command"] for line in commands]
    assert seen.count("create") == 2
    assert seen.count("start") == 2
    assert "delete" in seen
    argv = next(line["argv"] for line in commands if line["command"] == "create")
    assert isinstance(argv, list)
    assert {"--root", "--log", "--log-format", "create", "--bundle", "--pid-file", container} <= set(argv)
    assert any("--force" in line["argv"] for line in commands if line["command"] == "delete"), seen  # type: ignore[operator]
    states = [json.loads(line) for line in calls.read_text().splitlines() if line.strip()]
    assert len(states) == 2, "once more for its second start"


def test_trace_shows_what_docker_asked_for(site: Site) -> None:
    name = fresh_id("trace")
    site.docker.check("run", "--name", name, "--runtime", "hookrun", "--network", "none", IMAGE, "true")
    container = site.docker.inspect(name, "{{.Id}}")
    site.docker.check("rm", name)
    assert name in site.hookctl("trace", "list", "--container", container[:12])
    create = next(line for line in site.lines() if line["container"] == container and line["command"] == "create")
    shown = site.hookctl("trace", "show", str(create["id"]))
    assert "--bundle" in shown
    assert "every-container" in shown
    assert "FROM_POLICY=yes" in site.hookctl("trace", "diff", str(create["id"]))


def test_a_failing_hook_tells_docker_why(site: Site) -> None:
    site.policy(
        "failing.yaml",
        "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: failing}\nspec:\n"
        "  match: {field: /hostname, equals: fail-me}\n"
        "  hooks:\n    createRuntime:\n      - {path: /bin/sh, args: [sh, -c, 'echo the reason >&2; exit 7']}\n",
    )
    site.hookctl("apply", "--yes")
    result = site.docker(
        "run", "--rm", "--runtime", "hookrun", "--network", "none", "--hostname", "fail-me", IMAGE, "true"
    )
    assert result.status == 125
    assert "exit status 7" in result.err
    assert "the reason" in result.err
    assert site.run(IMAGE, "echo", "others run") == "others run"


def test_a_denied_container_tells_docker_why(site: Site) -> None:
    site.policy(
        "deny.yaml",
        "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: no-socket}\nspec:\n"
        "  deny:\n    - when: {field: /mounts/*/source, matches: 'd\\.sock$'}\n      message: no engine socket in here\n",
    )
    site.hookctl("apply", "--yes")
    socket = site.place / "d.sock"
    result = site.docker(
        "run", "--rm", "--runtime", "hookrun", "--network", "none", "-v", f"{socket}:/s", IMAGE, "true"
    )
    assert result.status == 125
    assert "no-socket" in result.err
    assert "no engine socket in here" in result.err
    assert site.run("-v", f"{site.place}/etc:/e", IMAGE, "echo", "fine") == "fine"


def test_many_containers_leave_nothing(site: Site, everything: bool) -> None:
    mounts = leaks.mounts()
    word = fresh_id("many")
    containers = 200 if everything else 32

    def live(number: int) -> int:
        return site.docker(
            "run", "--rm", "--name", f"{word}-{number}", "--runtime", "hookrun", "--network", "none", IMAGE, "true"
        ).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(live, range(containers))) == {0}
    assert site.docker.check("ps", "-aq") == ""
    assert [mount for mount in leaks.mounts() if mount not in mounts] == []
    roots = [directory for directory, _, files in os.walk(site.place / "exec") if "state.json" in files]
    assert roots == []
    ids = {str(line["container"]) for line in site.lines()}
    left = [path for path in leaks.cgroups("") if path.rsplit("/", 1)[-1] in ids]
    assert left == []
