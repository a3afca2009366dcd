"""A fleet of three hosts on real parts: nginx with TLS in front, Prometheus behind, node_exporter on each host.

Each host has namespaces of its own, and so has the machine of nginx and Prometheus: they meet on a network alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper.admin.fleet import keys, rollout
from tests.fleet.fleets import Publisher, denial, policy
from tests.support import generations
from tests.support.bundles import busybox_rootfs
from tests.support.configured import ConfiguredHost
from tests.support.docker import DOCKER, DOCKERD, Docker
from tests.support.machines import Machine, network
from tests.support.places import short_place
from tests.support.runtimes import CHECKOUT, HOOKCTL, Result, wait_for

PROGRAMS = ("nginx", "prometheus", "prometheus-node-exporter", "promtool", "openssl")
IMAGE = "tiny"
ALERTS = CHECKOUT / "packaging/fleet/alerts.yml"
pytestmark = pytest.mark.skipif(
    any(
        shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None
        for program in (*PROGRAMS, DOCKER, DOCKERD)
    ),
    reason=f"needs docker, {', '.join(PROGRAMS)}",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(*words: Any, log: Path) -> Iterator[int]:
    with log.open("wb") as file:
        process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


class Member(ConfiguredHost):
    """One of the fleet's hosts: on a machine of its own hookctl's directories, a launcher, a dockerd, a node_exporter."""

    def __init__(self, machine: Machine, place: Path, url: str, ca: Path) -> None:
        self.machine = machine
        super().__init__(place)
        self.texts = place / "textfiles"
        self.texts.mkdir()
        settings = json.loads((self.config / "config.yaml").read_text())
        settings["fleet"] = {"url": url, "ca": str(ca), "labels": {"name": machine.name}}
        (self.config / "config.yaml").write_text(json.dumps(settings))
        (place / "docker").mkdir()
        self.docker = Docker(
            place / "docker", place / "daemon.json", machine=generations.Machine("bookworm", machine.pid)
        )

    @property
    def exporter(self) -> str:
        """Where its node_exporter listens."""
        return f"{self.machine.address}:9100"

    def hookctl(self, *words: str) -> Result:
        return self.machine(HOOKCTL, "--config", self.config, "--state", self.state, *words)

    def follow(self, *words: str) -> str:
        """One run of the timer's service; returns what it said."""
        result = self.hookctl("fleet", "follow", *words)
        done = self.hookctl("metrics", "--textfile", str(self.texts / "hookrun.prom"))
        assert done.status == 0, done.err
        return result.out + result.err

    def run(self, hostname: str, command: str = "true") -> Result:
        """A container of this host's Docker, which calls this host's hookrun."""
        words = ("--rm", "--network", "none", "--hostname", hostname, "--runtime", "hookrun", IMAGE)
        return self.docker("run", *words, "sh", "-c", command)

    def close(self) -> None:
        self.docker.stop()
        super().close()


@pytest.fixture
def place() -> Iterator[Path]:
    with short_place("hr-fleet-") as found:
        yield found


@pytest.fixture
def publisher(place: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setenv(keys.PASSPHRASE, "geheim")
    return Publisher(place / "publisher")


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """The server's, which has nginx and Prometheus, and three hosts'."""
    with network(["server", *names()]) as found:
        yield found


@pytest.fixture
def server(machines: list[Machine]) -> Machine:
    return machines[0]


@pytest.fixture
def url(place: Path, publisher: Publisher, server: Machine) -> Iterator[str]:
    """The fleet's address behind nginx and TLS; its certificate is place/ca.pem."""
    with serve_by_nginx(place, publisher.public, server) as (url, _):
        yield url


@contextmanager
def serve_by_nginx(place: Path, directory: Path, server: Machine | None = None) -> Iterator[tuple[str, int]]:
    """A directory's address and nginx's pid, on a machine or on this host. The certificate is place/ca.pem."""
    address = server.address if server else "127.0.0.1"
    subject = ["-subj", "/CN=fleet", "-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", str(place / "key.pem"), "-out", str(place / "ca.pem")]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject]
    subprocess.run(words, check=True, capture_output=True)
    port = free_port()
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/nginx.err; events {{}}\n"
        f"http {{ access_log {place}/access.log; types {{}} default_type application/octet-stream;\n"
        + "".join(
            f"{kind}_temp_path {place}/t-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen {address}:{port} ssl; root {directory};\n"
        f"ssl_certificate {place}/ca.pem; ssl_certificate_key {place}/key.pem; }} }}\n"
    )
    words = ["/usr/sbin/nginx", "-c", str(place / "nginx.conf"), "-e", str(place / "nginx.err")]
    with running(*(server.enter if server else ()), *words, log=place / "nginx.log") as pid:
        wait_for((place / "nginx.pid").exists, "nginx to listen")
        yield f"https://{address}:{port}", pid


@pytest.fixture
def members(place: Path, url: str, machines: list[Machine], tmp_path: Path) -> Iterator[list[Member]]:
    """Three hosts, of which a third of all hosts' share has the first, and that one alone."""
    rootfs = busybox_rootfs(tmp_path)
    with ExitStack() as stack:
        found = []
        for machine in machines[1:]:
            (place / machine.name).mkdir()
            member = Member(machine, place / machine.name, url, place / "ca.pem")
            stack.callback(member.close)
            member.docker.start()
            member.docker.import_image(rootfs, IMAGE)
            words = (
                *machine.enter,
                "prometheus-node-exporter",
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={member.texts}",
                f"--web.listen-address={member.exporter}",
            )
            stack.enter_context(running(*words, log=place / f"{machine.name}.log"))
            found.append(member)
        yield found


def names() -> list[str]:
    """Names of hosts of which the first stands below 34 % for both versions that are staged, the others above."""
    hosts = [f"h{number}" for number in range(200)]
    low = [one for one in hosts if all(rollout.position(one, "base", version) < 0.34 for version in ("2.0", "2.1"))]
    high = [one for one in hosts if all(rollout.position(one, "base", version) >= 0.34 for version in ("2.0", "2.1"))]
    return [low[0], *high[:2]]


@pytest.fixture
def prometheus(place: Path, server: Machine, members: list[Member]) -> Iterator[str]:
    targets = [{"targets": [one.exporter], "labels": {"instance": one.machine.name}} for one in members]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "hosts", "static_configs": targets}],
    }
    (place / "prometheus.yml").write_text(json.dumps(config))
    words = (
        *server.enter,
        "prometheus",
        f"--config.file={place}/prometheus.yml",
        f"--storage.tsdb.path={place}/data",
        f"--web.listen-address={server.address}:9090",
    )
    url = f"http://{server.address}:9090"
    with running(*words, log=place / "prometheus.log"):
        wait_for(lambda: server("promtool", "query", "instant", url, "1").status == 0, "Prometheus to answer")
        yield url


def test_staged_refused_mended_promoted(
    publisher: Publisher, server: Machine, members: list[Member], prometheus: str, place: Path
) -> None:
    def fleet(*words: str) -> str:
        return server.check("env", f"HOOKCTL_FLEET={publisher.directory}", HOOKCTL, "fleet", *words)

    def firing() -> set[tuple[str, str]]:
        """The alerts that fire, and at which host."""
        query = 'ALERTS{alertstate="firing"}'
        found = json.loads(server.check("promtool", "query", "instant", "--format", "json", prometheus, query))
        return {(one["metric"]["alertname"], one["metric"].get("instance", "")) for one in found}

    def release(version: str, **files: str) -> None:
        directory = publisher.bundle(version, files={f"policies.d/{name}.yaml": text for name, text in files.items()})
        subprocess.run([HOOKCTL, "bundle", "build", directory, "--output", place], check=True, capture_output=True)
        fleet("publish", str(place / f"base-{version}.tar.gz"))

    def versions() -> list[str]:
        return [json.loads(one.hookctl("fleet", "show", "--json").out)["version"] for one in members]

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(fleet("status", "--prometheus", prometheus, "--json"))
        return found

    first, *others = members
    root = ("--root", str(publisher.root))
    release("1.0", env=policy("env"))
    fleet("promote", "base", "1.0")
    assert ["base 1.0 is in force" in one.follow(*root) for one in members] == [True] * 3
    assert first.run("evil", "echo $FROM") == (0, "env\n", "")

    # A third of the hosts tries the next one, whose record says that it would do harm.
    release("2.0", env=policy("env"), evil=policy("no-evil", **denial()))
    fleet("stage", "base", "2.0", "--share", "34%")
    said = [one.follow() for one in members]
    assert "1 recorded calls would be denied, 0 may be" in said[0]
    assert ["nothing to change" in one for one in said[1:]] == [True, True]
    assert versions() == ["1.0"] * 3
    wait_for(lambda: ("HookrunFleetRefused", first.machine.name) in firing(), "the alert")
    assert [(one["host"], one["version"]) for one in status()["refused"]] == [(first.machine.name, "2.0")]
    words = ("promote", "base", "--fleet", publisher.directory, "--prometheus", prometheus)
    refused = server(HOOKCTL, "fleet", *words)
    assert refused.status == 1
    assert f"1 hosts refused base 2.0; {first.machine.name}: " in refused.err

    # Mended: the third takes it, then all.
    release("2.1", env=policy("env"), evil=policy("no-evil", **denial(value="worse")))
    fleet("stage", "base", "2.1", "--share", "34%")
    for one in members:
        one.follow()
    assert versions() == ["2.1", "1.0", "1.0"]
    wait_for(lambda: not firing(), "the alert to be resolved")
    wait_for(lambda: len(status()["versions"]) == 2, "both versions to be seen")
    fleet("promote", "base", "--prometheus", prometheus)
    for one in others:
        assert "base 2.1 is in force" in one.follow()
    assert versions() == ["2.1"] * 3
    wait_for(lambda: status()["versions"] == [{"bundle": "base", "version": "2.1", "hosts": 3}], "all to be seen")
    denied = others[0].run("worse")
    assert (denied.status, "no-evil: no" in denied.err) == (125, True)
    others[0].follow()
    wait_for(lambda: status()["denied"] == [{"policy": "no-evil", "calls": 1}], "the denial to be seen")

    fleet("rollback", "base")
    assert ["base 1.0 is in force" in one.follow() for one in members] == [True] * 3
    assert others[0].run("worse").status == 0
    requests = (place / "access.log").read_text().splitlines()
    assert [line for line in requests if '" 304 ' in line and "timestamp.json" in line]


def test_alert_rules() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts.test.yml"],
        cwd=ALERTS.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_asks_for_what_there_is(tmp_path: Path) -> None:
    """Each query is one of Prometheus', and names metrics that `hookctl metrics` has."""
    panels = json.loads((ALERTS.parent / "dashboard.json").read_text())["panels"]
    queries = [target["expr"].replace("$host", ".*") for panel in panels for target in panel["targets"]]
    assert len({panel["id"] for panel in panels}) == len(panels)
    rules = {
        "groups": [
            {
                "name": "queries",
                "rules": [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)],
            }
        ]
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run(
        [HOOKCTL, "--state", tmp_path, "metrics"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    there = {line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE ")}
    texts = [*queries, ALERTS.read_text()]
    asked = {name for text in texts for name in re.findall(r"hookrun_\w+", text)}
    assert {name.removesuffix("_bucket") for name in asked} <= there
