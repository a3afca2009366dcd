"""`hookctl engine register docker --only`: no way to a container, named or by a build, is left beside hookrun."""

from __future__ import annotations

import base64
import functools
import http.client
import http.server
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.admin.engines import stock_runc
from tests.engines.conftest import IMAGE
from tests.support.configured import ConfiguredHost
from tests.support.docker import Docker, running
from tests.support.generations import Machine
from tests.support.runtimes import PATIENCE, RUNC, fresh_id

POLICY = {
    "apiVersion": "hookrun/v1",
    "kind": "Policy",
    "metadata": {"name": "marked"},
    "spec": {
        "deny": [{"when": {"field": "/process/args/*", "matches": "refused"}, "message": "not here"}],
        "env": {"force": {"MARKED": "yes"}},
    },
}


@pytest.fixture(scope="module")
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    made = ConfiguredHost(place / "host", machine)
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(json.dumps(POLICY))
    made.apply()
    made.register("docker", place / "daemon.json", "--only", "--unit-directory", str(place / "units"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def docker(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[Docker]:
    """A dockerd as systemd would start it with the drop-in: its containerd and their shims inherit the path."""
    text = (place / "units/docker.service.d/50-hookrun.conf").read_text()
    path = re.search(r"^Environment=PATH=(.*)$", text, re.MULTILINE)
    assert path
    assert text == (place / "units/containerd.service.d/50-hookrun.conf").read_text()
    (place / "d").mkdir()
    daemon = Docker(place / "d", place / "daemon.json", {"PATH": path[1]}, machine)
    with running(daemon, image_rootfs, IMAGE):
        yield daemon


@pytest.mark.parametrize(
    "runtime", [[], ["--runtime", "runc"], ["--runtime", "io.containerd.runc.v2"], ["--runtime", "hookrun"]]
)
def test_every_name_leads_to_hookrun(runtime: list[str], docker: Docker, host: ConfiguredHost) -> None:
    run = ("run", "--rm", "--network", "none", *runtime, IMAGE, "sh", "-c")
    assert docker.check(*run, "echo marked=$MARKED") == "marked=yes"
    assert host.lines("create")[-1]["engine"] == "docker"
    assert "policy marked: not here" in docker(*run, "echo refused").err


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def built_by_buildkit(docker: Docker, place: Path, *steps: str) -> str:
    """What a build by BuildKit in the daemon says (Engine API, `POST /build?version=2`): no client of it is needed."""
    context = place / fresh_id("context")
    context.mkdir()
    (context / "Dockerfile").write_text("\n".join([f"FROM {IMAGE}", *steps, ""]))
    subprocess.run(
        ["tar", "-C", context, "-cf", place / f"{context.name}.tar", "."],
        check=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    with docker.machine.network():
        files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(place)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    try:
        connection = _UnixConnection(docker.socket.removeprefix("unix://"))
        remote = f"http://127.0.0.1:{files.server_port}/{context.name}.tar"
        connection.request(
            "POST", f"/build?version=2&t=hr-only&networkmode=none&nocache=1&buildid={context.name}&remote={remote}"
        )
        answer = connection.getresponse().read().decode()
        connection.close()
    finally:
        files.shutdown()
    traced = b"".join(base64.b64decode(part) for part in re.findall(r'"aux":"([^"]+)"', answer))
    return answer + traced.decode(errors="replace")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.mark.matrix(engine="Docker", feature="image builds")
def test_a_build_by_buildkit(docker: Docker, host: ConfiguredHost, place: Path) -> None:
    said = built_by_buildkit(docker, place, "RUN echo marked=$MARKED")
    assert "marked=yes" in said
    assert host.lines("run")[-1]["status"] == 0
    assert "not here" in built_by_buildkit(docker, place, "RUN echo refused")


def test_in_front_of_runc_it_does_not_call_itself(docker: Docker, host: ConfiguredHost, place: Path) -> None:
    before = (host.config / "config.yaml").read_text()
    (host.config / "config.yaml").write_text(json.dumps({**json.loads(before), "runtime": RUNC}))
    host.apply()
    try:
        run = ("run", "--rm", "--network", "none", "--runtime", "runc", IMAGE, "sh", "-c")
        assert docker.check(*run, "echo marked=$MARKED") == "marked=yes"
        assert host.lines("create")[-1]["delegate"] == RUNC
        assert "marked=yes" in built_by_buildkit(docker, place, "RUN echo marked=$MARKED")
    finally:
        (host.config / "config.yaml").write_text(before)
        host.apply()


def test_who_finds_it_is_known(docker: Docker, host: ConfiguredHost) -> None:
    """For `doctor`, and for `unregister`, which keeps the launcher as long as somebody's containers need it."""
    pids = {int(docker.directory.joinpath("d.pid").read_text())}
    assert pids <= set(stock_runc.users(host.launchers))
    assert stock_runc.leads_to(pids.pop()) == str(host.launchers / "runc")


def test_unregistering_leaves_nothing(docker: Docker, host: ConfiguredHost, place: Path) -> None:
    words = (
        "engine",
        "unregister",
        "docker",
        "--file",
        str(place / "daemon.json"),
        "--unit-directory",
        str(place / "units"),
    )
    done = host.hookctl(*words)
    assert done.status == 0, done.err
    assert list((place / "units").iterdir()) == []
    assert not (place / "daemon.json").exists()
    assert "kept for processes that find it as runc" in done.out
    assert docker.check("run", "--rm", "--network", "none", IMAGE, "echo", "still runs") == "still runs"
