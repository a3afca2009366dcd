"""hookrun as Docker's default runtime: what does not choose a runtime is under its policies too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import IMAGE
from tests.support.configured import ConfiguredHost
from tests.support.docker import Docker
from tests.support.runtimes import Result, fresh_id, wait_for

RUNTIME = "hr-default"
COMPOSE = shutil.which("docker-compose")
POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {{name: marked}}
spec:
  deny:
    - when: {{field: /process/args/*, matches: refused}}
      message: not in my build
  patch:
    - {{op: add, path: /process/env/-, value: MARKED=yes}}
  hooks:
    createRuntime:
      - {{path: /bin/sh, args: [sh, -c, 'echo x >>{log}/hooks']}}
"""


@pytest.fixture(scope="module")
def host(place: Path, docker: Docker) -> Iterator[ConfiguredHost]:
    """The default runtime of the shared daemon while these tests run."""
    made = ConfiguredHost(place / "host", docker.machine)
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(POLICY.format(log=made.log))
    made.apply()
    config = docker.directory / "daemon.json"
    before = config.read_text()
    made.register("docker", config, "--name", RUNTIME, "--default", "--reload")
    assert default_of(docker) == RUNTIME
    yield made
    gone = made.hookctl("engine", "unregister", "docker", "--file", str(config), "--name", RUNTIME, "--reload")
    assert (gone.status, gone.err) == (0, "")
    assert default_of(docker) == "runc"
    assert config.read_text() == before
    made.close()


def default_of(docker: Docker) -> str:
    return docker.check("info", "--format", "{{.DefaultRuntime}}")


def creates(host: ConfiguredHost) -> list[dict[str, Any]]:
    return [line for line in host.lines("create") if line["status"] == 0]


@pytest.mark.matrix(engine="Docker", feature=("registered by `hookctl engine`", "default runtime"))
def test_run_without_a_choice(docker: Docker, host: ConfiguredHost) -> None:
    assert docker.check("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "echo $MARKED") == "yes"
    line = creates(host)[-1]
    assert (line["engine"], Path(line["argv"][0]).name) == ("docker", RUNTIME)
    assert (host.log / "hooks").read_text().split() == ["x"] * len(creates(host))


def build(docker: Docker, place: Path, *steps: str) -> Result:
    (place / "context").mkdir(exist_ok=True)
    (place / "context/Dockerfile").write_text("\n".join([f"FROM {IMAGE}", *steps, ""]))
    return docker("build", "--no-cache", "--force-rm", "--network", "none", "--tag", "hr-built", str(place / "context"))


@pytest.mark.matrix(engine="Docker", feature="image builds")
def test_the_steps_of_a_build(
    docker: Docker, host: ConfiguredHost, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")  # BuildKit calls a runc of its own
    before = len(creates(host))
    built = build(docker, place, 'RUN echo "$MARKED" >/marked', "RUN test -s /marked && echo second >>/marked")
    assert built.status == 0, built.err
    assert len(creates(host)) == before + 2
    try:
        assert docker.check("run", "--rm", "--network", "none", "hr-built", "cat", "/marked").split() == [
            "yes",
            "second",
        ]
    finally:
        docker.check("rmi", "-f", "hr-built")
    refused = build(docker, place, "RUN echo refused")
    assert refused.status == 1
    assert "policy marked: not in my build" in refused.err


def pid_of(docker: Docker, name: str) -> int:
    """The pid of a container's first process: 0, which a signal would take for the test's own group, is none yet."""
    wait_for(lambda: docker.inspect(name, "{{.State.Pid}}") != "0", "the container to have a process")
    pid = int(docker.inspect(name, "{{.State.Pid}}"))
    assert pid > 1
    return pid


@pytest.mark.matrix(engine="Docker", feature="restart policies and compose")
def test_a_restart_policy(docker: Docker, host: ConfiguredHost) -> None:
    name = fresh_id("restart")
    docker.check(
        "run", "-d", "--name", name, "--restart", "always", "--network", "none", IMAGE, "sh", "-c", "exec sleep 600"
    )
    try:
        container = docker.inspect(name, "{{.Id}}")
        for count in (1, 2):
            os.kill(pid_of(docker, name), signal.SIGKILL)
            docker.wait_for_state(name, "{{.RestartCount}}", str(count))
            wait_for(partial(_has_starts, host, container, count + 1), "it to start again")
    finally:
        docker("rm", "-f", name)


def _has_starts(host: ConfiguredHost, container: str, starts: int) -> bool:
    return len([line for line in creates(host) if line["container"] == container]) == starts


@pytest.mark.matrix(engine="Docker", feature="restart policies and compose")
@pytest.mark.skipif(COMPOSE is None, reason="needs docker-compose")
def test_compose(docker: Docker, host: ConfiguredHost, place: Path) -> None:
    service = {"image": IMAGE, "network_mode": "none", "restart": "always", "command": ["sleep", "600"]}
    project = place / "project"
    project.mkdir()
    (project / "docker-compose.yml").write_text(
        json.dumps({"version": "2.4", "services": {"a": service, "b": service}})
    )

    def compose(*words: str) -> str:
        done = subprocess.run(
            [str(COMPOSE), "--host", docker.socket, "--project-name", "hr", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=project,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = len(creates(host))
    compose("up", "-d")
    try:
        containers = compose("ps", "-q").split()
        assert compose("exec", "-T", "a", "echo", "in") == "in\n"
        compose("restart", "--timeout", "0")
        assert [docker.inspect(container, "{{.State.Running}}") for container in containers] == ["true", "true"]
    finally:
        compose("down", "--timeout", "0")
    assert len(creates(host)) == before + 4
    assert docker.check("ps", "-aq") == ""


def test_a_launcher_stays_as_long_as_a_container_runs_by_it(docker: Docker, host: ConfiguredHost) -> None:
    runtime, name = "hr-second", fresh_id("second")
    words = ("docker", "--file", str(docker.directory / "daemon.json"), "--name", runtime, "--reload")
    assert host.hookctl("engine", "register", *words).status == 0
    docker.check("run", "-d", "--name", name, "--runtime", runtime, "--network", "none", IMAGE, "sleep", "600")
    try:
        gone = host.hookctl("engine", "unregister", *words)
        assert (gone.status, gone.err) == (0, "")
        assert f"{host.launchers / runtime}: kept, for containers run by it" in gone.out
        docker.check("exec", name, "true")
    finally:
        assert docker("rm", "-f", name).status == 0
    assert "kept" not in host.hookctl("engine", "unregister", *words).out
    assert not (host.launchers / runtime).exists()
