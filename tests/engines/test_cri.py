"""containerd's CRI plugin with a RuntimeClass handler of hookrun's: a pod as a kubelet runs it."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.configured import ConfiguredHost
from tests.support.containerd import CONTAINERD, CTR, Containerd
from tests.support.cri import Cri, decode, pairs
from tests.support.runtimes import fresh_id, wait_for

pytestmark = pytest.mark.skipif(
    not Path(CONTAINERD).exists() or not Path(CTR).exists(), reason="needs containerd and ctr"
)

IMAGE = "docker.io/library/hookrun-test:latest"
RUNNING, EXITED = 1, 2
NODE = 2  # the host's network: a pod that needs no CNI plugin
PLUGIN = """
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{place}/cni/bin"
conf_dir = "{place}/cni/conf"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "hookrun"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hookrun]
runtime_type = "io.containerd.runc.v2"
container_annotations = ["cdi.k8s.io/*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hookrun.options]
BinaryName = "{launcher}"
Root = "{place}/runc"
"""
POLICY = """
apiVersion: hookrun/v1
kind: Policy
metadata: {name: no-root}
spec:
  match: {annotation: 'io\\.kubernetes\\.cri\\.container-name', matches: '^refused$'}
  deny:
    - message: not in my cluster
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hrcri-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    subprocess.run(["rm", "-rf", str(directory)], stdin=subprocess.DEVNULL, check=False, timeout=120)


@pytest.fixture(scope="module")
def host(place: Path) -> Iterator[ConfiguredHost]:
    """A host with a hook for containers of the namespace `audited`, a CDI device, and a policy."""
    made = ConfiguredHost(place / "host")
    made.settings(cdi={"directories": ["cdi"]})
    (made.config / "cdi").mkdir()
    edits = {"env": ["GPU=0"]}
    spec = {"cdiVersion": "0.5.0", "kind": "vendor.com/gpu", "devices": [{"name": "a", "containerEdits": edits}]}
    (made.config / "cdi/gpu.json").write_text(json.dumps(spec))
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(POLICY)
    note = made.script("note", f"echo x >>{made.log}/audited")
    made.hook("1.json", note, "createRuntime", annotations={r"^io\.kubernetes\.cri\.sandbox-namespace$": "^audited$"})
    made.apply()
    yield made
    made.close()


def image_archive(rootfs: Path) -> bytes:
    """An image of a directory in `docker save`'s format."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(rootfs, ".")
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        files = {"layer.tar": layer.getvalue(), "config.json": config, "manifest.json": manifest}
        for name, value in files.items():
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()


@pytest.fixture(scope="module")
def cri(place: Path, host: ConfiguredHost, image_rootfs: Path) -> Iterator[Cri]:
    daemon = Containerd(place, PLUGIN.format(image=IMAGE, place=place, launcher=host.launcher), namespace="k8s.io")
    (place / "image.tar").write_bytes(image_archive(image_rootfs))
    client = Cri(daemon.socket)
    try:
        daemon.start()
        daemon.check("image", "import", "--snapshotter", "native", str(place / "image.tar"))
        wait_for(lambda: answers(client), f"the CRI plugin: {daemon.log}", 60)
        yield client
    finally:
        client.close()
        daemon.stop()


def answers(client: Cri) -> bool:
    try:
        return client("Version", {})[2] == b"containerd"
    except grpc.RpcError:
        return False


class Pod:
    """A pod sandbox, and containers in it."""

    def __init__(self, cri: Cri, namespace: str) -> None:
        name = fresh_id("pod")
        self.cri = cri
        self.config: dict[int, Any] = {
            1: {1: name, 2: f"uid-{name}", 3: namespace},
            6: pairs({"app": "test"}),
            8: {2: {1: {1: NODE}}},
        }
        self.id: str = cri("RunPodSandbox", {1: self.config, 2: "hookrun"})[1].decode()

    def create(self, name: str, *command: str, annotations: dict[str, str] | None = None) -> str:
        config = {
            1: {1: name},
            2: {1: IMAGE},
            3: list(command),
            6: [{1: "A", 2: b"1"}],
            10: pairs(annotations or {}),
            15: {2: {3: {1: NODE}}},
        }
        answer = self.cri("CreateContainer", {1: self.id, 2: config, 3: self.config})
        container: str = answer[1].decode()
        return container

    def start(self, container: str) -> str:
        self.cri("StartContainer", {1: container})
        return container

    def status(self, container: str) -> dict[int, Any]:
        return decode(self.cri("ContainerStatus", {1: container})[1])

    def wait_for(self, container: str, state: int) -> dict[int, Any]:
        wait_for(lambda: self.status(container).get(3) == state, f"the container's state to be {state}")
        return self.status(container)

    def execute(self, container: str, *command: str) -> tuple[int, str, str]:
        answer = self.cri("ExecSync", {1: container, 2: list(command), 3: 60})
        return answer.get(3, 0), answer.get(1, b"").decode(), answer.get(2, b"").decode()

    def remove(self) -> None:
        self.cri("StopPodSandbox", {1: self.id})
        self.cri("RemovePodSandbox", {1: self.id})


@pytest.fixture
def pod(cri: Cri, request: pytest.FixtureRequest) -> Iterator[Pod]:
    made = Pod(cri, getattr(request, "param", "default"))
    yield made
    made.remove()


def test_the_life_of_a_container(pod: Pod, host: ConfiguredHost) -> None:
    container = pod.start(pod.create("main", "/bin/sh", "-c", "trap 'exit 3' TERM; touch /up; while :; do sleep 0.1; done"))
    pod.wait_for(container, RUNNING)
    wait_for(lambda: pod.execute(container, "ls", "/up")[0] == 0, "the container to be up")
    assert pod.execute(container, "sh", "-c", "echo $A; echo err >&2; exit 5") == (5, "1\n", "err\n")
    stats = decode(pod.cri("ContainerStats", {1: container})[1])
    assert decode(decode(stats[2])[2])[1] > 0
    pod.cri("StopContainer", {1: container, 2: 60})
    assert pod.wait_for(container, EXITED)[7] == 3
    pod.cri("RemoveContainer", {1: container})
    lines = [line for line in host.lines() if line["container"] == container]
    assert {line["engine"] for line in lines} == {"kubernetes"}
    assert {"create", "start", "exec", "kill", "delete"} <= {line["command"] for line in lines}


def test_the_end_of_a_container_by_itself(pod: Pod) -> None:
    container = pod.start(pod.create("main", "/bin/sh", "-c", "exit 7"))
    assert pod.wait_for(container, EXITED)[7] == 7


@pytest.mark.parametrize("pod", ["audited"], indirect=True)
def test_a_hook_for_a_namespace(pod: Pod, host: ConfiguredHost) -> None:
    file = host.log / "audited"
    before = len(file.read_text().split())
    pod.start(pod.create("main", "/bin/sleep", "600"))
    assert len(file.read_text().split()) == before + 1


def test_a_cdi_device(pod: Pod) -> None:
    command = ["/bin/sh", "-c", "echo $GPU >/gpu; exec sleep 600"]
    container = pod.start(pod.create("main", *command, annotations={"cdi.k8s.io/test": "vendor.com/gpu=a"}))
    wait_for(lambda: pod.execute(container, "cat", "/gpu")[1] == "0\n", "the container to see its device's variable")


def test_a_refusal_reaches_the_kubelet(pod: Pod) -> None:
    container = pod.create("refused", "/bin/sleep", "600")
    with pytest.raises(grpc.RpcError) as refusal:
        pod.start(container)
    assert "policy no-root: not in my cluster" in str(refusal.value)
