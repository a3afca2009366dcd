"""The library's policies under a real dockerd: each one bites, its neighbour passes, and audit only records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun import policies
from tests.engines.conftest import IMAGE
from tests.support import leaks
from tests.support.docker import Docker
from tests.support.places import short_place
from tests.support.runtimes import HOOKCTL, Result, fresh_id, wait_for

LIBRARY = Path(policies.__file__).parent / "library"
RUNTIME = "hr-policies"


class Site:
    """A runtime of its own at the shared daemon, and the policies that are in force for it."""

    def __init__(self, docker: Docker, place: Path) -> None:
        self.docker = docker
        self.place = place
        self.directory = place / "etc/policies.d"
        self.directory.mkdir(parents=True)
        self.hookctl(
            "engine", "register", "docker", "--name", RUNTIME, "--daemon-json", str(docker.directory / "daemon.json")
        )
        docker.reload()
        wait_for(
            lambda: RUNTIME in docker.check("info", "--format", "{{json .Runtimes}}"), "dockerd to know the runtime"
        )

    def close(self) -> None:
        self.hookctl(
            "engine",
            "unregister",
            "docker",
            "--name",
            RUNTIME,
            "--daemon-json",
            str(self.docker.directory / "daemon.json"),
        )
        self.docker.reload()
        wait_for(
            lambda: RUNTIME not in self.docker.check("info", "--format", "{{json .Runtimes}}"),
            "dockerd to forget the runtime",
        )
        self.docker.machine.unmount_below(self.place / "state")
        assert not [mount for mount in leaks.mounts() if mount.startswith(f"{self.place}/")]

    def hookctl(self, *words: str) -> str:
        done = subprocess.run(
            self.docker.machine.command(
                HOOKCTL, "--config", self.place / "etc", "--state", self.place / "state", *words
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def in_force(self, name: str, replaced: dict[str, str] | None = None, *, audit: bool = False) -> None:
        """Have one file of the library in force, and nothing else."""
        text = (LIBRARY / f"{name}.yaml").read_text()
        if audit:
            text = text.replace("\nspec:\n", "\nspec:\n  mode: audit\n")
        for old, new in (replaced or {}).items():
            text = text.replace(old, new)
        for path in self.directory.iterdir():
            path.unlink()
        (self.directory / f"{name}.yaml").write_text(text)
        self.hookctl("apply", "--yes")

    def run(self, *words: str) -> Result:
        return self.docker("run", "--rm", "--name", fresh_id("p"), "--runtime", RUNTIME, *words)

    def told(self, *words: str) -> str:
        """What a container prints that must run."""
        result = self.run("--network", "none", *words)
        assert result.status == 0, result.err
        return result.out

    def last(self, command: str) -> dict[str, Any]:
        lines = map(json.loads, (self.place / "state/record/record.jsonl").read_text().splitlines())
        found: dict[str, Any] = [line for line in lines if line.get("command") == command][-1]
        return found


@pytest.fixture(scope="module")
def site(docker: Docker) -> Iterator[Site]:
    with short_place("hr-policies-") as place:  # no engine's: its mounts are counted
        site = Site(docker, place)
        yield site
        site.close()


# The policy, what is refused, a part of its message, and the neighbour that is not.
REFUSED: list[tuple[str, list[str], str, list[str]]] = [
    (
        "no-engine-socket",
        ["-v", "/var/run:/h"],
        "policy no-engine-socket: mounting a container engine's socket",
        ["-v", "/srv:/h"],
    ),
    ("pod-security-baseline", ["--cap-add", "SYS_ADMIN"], "baseline: capabilities beyond", ["--cap-drop", "CHOWN"]),
    ("pod-security-baseline", ["--privileged"], "baseline: capabilities beyond", []),
    ("pod-security-baseline", ["-v", "/var/tmp:/h"], "mounting a path of the host", ["-v", "/anonymous"]),
    ("pod-security-baseline", ["--pid", "host"], "the host's pid namespace", []),
    ("pod-security-baseline", ["--network", "host"], "the host's network namespace", []),
    ("pod-security-baseline", ["--ipc", "host"], "the host's ipc namespace", ["--ipc", "shareable"]),
    (
        "pod-security-baseline",
        ["--sysctl", "net.ipv4.ip_forward=1"],
        "the sysctl net.ipv4.ip_forward",
        ["--sysctl", "net.ipv4.tcp_syncookies=1"],
    ),
    (
        "pod-security-restricted",
        ["--user", "0", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        "running as root",
        ["--user", "1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    ),
    (
        "pod-security-restricted",
        ["--user", "1000", "--security-opt", "no-new-privileges"],
        "restricted: all capabilities",
        ["--user", "1000", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--security-opt", "no-new-privileges"],
    ),
    (
        "pod-security-baseline",
        ["--device-cgroup-rule", "b *:* rwm"],
        "raw disks",
        ["--device-cgroup-rule", "c 1:3 rwm"],
    ),
    ("pod-security-baseline", ["--security-opt", "seccomp=unconfined"], "seccomp profile can not be unconfined", []),
    (
        "cis-docker",
        ["--device", "/dev/full:/dev/other", "--device", "/dev/loop-control"],
        "CIS 5.18",
        ["--device", "/dev/full:/dev/other"],
    ),
    ("cis-docker", ["--cgroup-parent", "/own"], "CIS 5.25", []),
    ("cis-docker", ["--security-opt", "seccomp=unconfined"], "CIS 5.22", []),
    ("cis-docker", ["--uts", "host"], "the host's uts namespace", ["--hostname", "other"]),
    ("cis-docker", ["-v", "/usr:/h:ro"], "CIS 5.6", ["-v", "/srv:/h:ro"]),
]


@pytest.mark.parametrize(
    ("name", "refused", "message", "allowed"), REFUSED, ids=[f"{case[0]}{' '.join(case[1][:2])}" for case in REFUSED]
)
def test_it_refuses(site: Site, name: str, refused: list[str], message: str, allowed: list[str]) -> None:
    site.in_force(name)
    network = [] if "--network" in refused else ["--network", "none"]
    result = site.run(*network, *refused, IMAGE, "echo", "it runs")
    assert result.status == 125
    assert message in result.err
    assert "it runs" not in result.out
    assert site.told(*allowed, IMAGE, "echo", "it runs") == "it runs\n"


def test_audit_only_records(site: Site) -> None:
    site.in_force("no-engine-socket", audit=True)
    assert site.told("-v", "/var/run:/h:ro", IMAGE, "echo", "it runs") == "it runs\n"
    (decision,) = site.last("create")["decisions"]
    assert (decision["policy"], decision["mode"], decision["action"]) == ("no-engine-socket", "audit", "audited")
    assert decision["message"].startswith("would be denied: mounting a container engine's socket")


def test_audit_changes_nothing(site: Site) -> None:
    site.in_force("no-new-privileges", audit=True)
    assert site.told(IMAGE, "grep", "NoNewPrivs", "/proc/self/status").split() == ["NoNewPrivs:", "0"]
    line = site.last("create")
    assert line["decisions"][0]["message"] == "would be patched"
    assert line["config"]["patch"] == []


def test_no_new_privileges(site: Site) -> None:
    site.in_force("no-new-privileges")
    assert site.told(IMAGE, "grep", "NoNewPrivs", "/proc/self/status").split() == ["NoNewPrivs:", "1"]


def test_drop_net_raw(site: Site) -> None:
    site.in_force("drop-net-raw")
    bounding = int(site.told(IMAGE, "grep", "CapBnd", "/proc/self/status").split()[1], 16)
    assert not bounding & 1 << 13
    assert bounding & 1 << 0, "CAP_CHOWN stays"


def test_proxy_defaults(site: Site) -> None:
    site.in_force("proxy-defaults")
    lines = site.told("--env", "http_proxy=http://own:1", IMAGE, "env").splitlines()
    assert "http_proxy=http://own:1" in lines
    assert "https_proxy=http://proxy.example:3128" in lines


def test_read_only_network_files(site: Site) -> None:
    site.in_force("read-only-network-files")
    script = "for f in /etc/hosts /etc/hostname /etc/resolv.conf; do cat $f >/dev/null; echo x 2>/dev/null >>$f || echo refused; done; echo x >/etc/other && echo written"
    assert site.told(IMAGE, "sh", "-c", script).split() == ["refused"] * 3 + ["written"]


def test_resource_ceilings(site: Site) -> None:
    site.in_force("resource-ceilings")
    script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    assert site.told(IMAGE, "sh", "-c", script) == "1024\n"
    assert site.told("--pids-limit", "100000", IMAGE, "sh", "-c", script) == "4096\n"
    assert site.told("--pids-limit", "77", IMAGE, "sh", "-c", script) == "77\n"


def test_docker_update(site: Site) -> None:
    """`docker update` takes no ceiling away."""
    site.in_force("resource-ceilings")
    name = fresh_id("p")
    site.docker.check("run", "-d", "--name", name, "--runtime", RUNTIME, "--network", "none", IMAGE, "sleep", "600")
    script = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    try:
        for asked, after in (("77", "77"), ("-1", "1024"), ("100000", "4096")):
            site.docker.check("update", "--pids-limit", asked, name)
            assert site.docker.check("exec", name, "sh", "-c", script) == after
        assert site.last("update")["resources"]["patch"] == [{"op": "replace", "path": "/pids/limit", "value": 4096}]
    finally:
        site.docker("rm", "-f", name)


def test_cis_defaults(site: Site) -> None:
    site.in_force("cis-docker")
    script = (
        "grep NoNewPrivs /proc/self/status; touch /new 2>/dev/null || echo read-only; touch /vol/new && echo written"
    )
    assert site.told("-v", "/vol", IMAGE, "sh", "-c", script).split() == ["NoNewPrivs:", "1", "read-only", "written"]


def test_hook_everywhere(site: Site) -> None:
    mark = site.place / "hook-ran"
    script = site.place / "hook"
    script.write_text(f"#!/bin/sh\ncat > {mark}\n")
    script.chmod(0o755)
    site.in_force("hook-everywhere", {"/usr/bin/true": str(script)})
    assert site.told(IMAGE, "echo", "it runs") == "it runs\n"
    assert json.loads(mark.read_text())["status"] == "creating"
    (hook,) = [hook for hook in site.last("create")["hooks"] if hook["path"] == str(script)]
    assert hook["policy"] == "hook-everywhere"
    text = (site.directory / "hook-everywhere.yaml").read_text().splitlines()
    assert str(script) in text[hook["line"] - 1]


def test_exec_is_policed(site: Site) -> None:
    site.in_force("pod-security-baseline")
    name = fresh_id("p")
    site.docker.check("run", "-d", "--name", name, "--runtime", RUNTIME, "--network", "none", IMAGE, "sleep", "600")
    try:
        refused = site.docker("exec", "--privileged", name, "echo", "it runs")
        assert refused.status != 0
        assert "it runs" not in refused.out
        assert "capabilities beyond" in refused.err + refused.out
        assert site.last("exec")["decisions"][0]["action"] == "denied"
        assert site.docker.check("exec", name, "echo", "it runs") == "it runs"
        site.in_force("proxy-defaults")
        assert "https_proxy=http://proxy.example:3128" in site.docker.check("exec", name, "env").splitlines()
    finally:
        site.docker("rm", "-f", name)


def test_simulate_says_it_before(site: Site) -> None:
    for path in site.directory.iterdir():
        path.unlink()
    site.hookctl("apply", "--yes")
    assert site.told("--cap-add", "SYS_ADMIN", IMAGE, "echo", "it runs") == "it runs\n"
    container = site.last("create")["container"]
    said = site.hookctl("policy", "simulate", "--policies", str(LIBRARY / "pod-security-baseline.yaml"))
    (row,) = [line for line in said.splitlines() if line.startswith(f"{container} create")]
    assert "denied" in row
    assert "capabilities beyond" in row
    explained = site.hookctl("policy", "explain", container, "--policies", str(LIBRARY / "pod-security-baseline.yaml"))
    assert "-> denied: pod security baseline: capabilities beyond" in explained


def test_a_container_is_known_by_its_name(site: Site) -> None:
    name = fresh_id("named")
    site.in_force("hook-everywhere")
    site.docker.check("run", "--rm", "--name", name, "--runtime", RUNTIME, "--network", "none", IMAGE, "true")
    (line,) = [
        call
        for call in json.loads(site.hookctl("trace", "list", "--json", "--container", name))
        if call["command"] == "create"
    ]
    assert (line["name"], len(line["container"])) == (name, 64)
    listed = site.hookctl("trace", "list", "--last", "0").splitlines()
    for command in ("create", "start", "delete"):
        assert any(row.split()[3:5] == [command, name] for row in listed), command
    shown = site.hookctl("trace", "show", name)
    assert name in shown and line["container"] in shown
    assert name in site.hookctl("trace", "timeline", name)
    assert f'"name": "{name}"' in site.hookctl("trace", "export", "--format", "html")
