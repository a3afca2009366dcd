"""containerd's CRI plugin with a RuntimeClass handler of hookrun's: a pod as a kubelet runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support import cri as cris
from tests.support import port_forward
from tests.support.configured import ConfiguredHost
from tests.support.containerd import CONTAINERD, CTR
from tests.support.cri import EXITED, RUNNING, Cri, Pod, decode
from tests.support.generations import HERE, Machine
from tests.support.runtimes import wait_for

pytestmark = pytest.mark.skipif(
    not Path(CONTAINERD).exists() or not Path(CTR).exists(), reason="needs containerd and ctr"
)

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
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    """A host with a hook for containers of the namespace `audited`, a CDI device, and a policy."""
    made = ConfiguredHost(place / "host", machine)
    made.settings(cdi={"directories": [str(place / "cdi")]})
    (place / "cdi").mkdir(mode=0o755)
    edits = {"env": ["GPU=0"]}
    spec = {"cdiVersion": "0.5.0", "kind": "vendor.com/gpu", "devices": [{"name": "a", "containerEdits": edits}]}
    (place / "cdi/gpu.json").write_text(json.dumps(spec))
    (made.config / "policies.d").mkdir()
    (made.config / "policies.d/policy.yaml").write_text(POLICY)
    note = made.script("note", f"echo x >>{made.log}/audited")
    made.hook("1.json", note, "createRuntime", annotations={r"^io\.kubernetes\.cri\.sandbox-namespace$": "^audited$"})
    made.apply()
    yield made
    made.close()


@pytest.fixture(scope="module")
def cri(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[Cri]:
    daemon = cris.daemon(place, image_rootfs, lambda config: host.register("containerd", config), machine)
    with daemon as (_, client):
        yield client


@pytest.fixture
def pod(cri: Cri, request: pytest.FixtureRequest) -> Iterator[Pod]:
    made = Pod(cri, getattr(request, "param", "default"))
    yield made
    made.remove()


@pytest.mark.matrix(engine="containerd, CRI", feature=("registered by `hookctl engine`", "pods", "stats"))
def test_the_life_of_a_container(pod: Pod, host: ConfiguredHost) -> None:
    container = pod.start(
        pod.create("main", "/bin/sh", "-c", "trap 'exit 3' TERM; touch /up; while :; do sleep 0.1; done")
    )
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


@pytest.mark.matrix(engine="containerd, CRI", feature="port-forward")
def test_port_forward(pod: Pod, machine: Machine) -> None:
    script = "mkdir /w; echo through >/w/index.html; exec httpd -f -p 127.0.0.1:38473 -h /w"
    pod.start(pod.create("main", "/bin/sh", "-c", script))

    def answers() -> bool:
        url = pod.cri("PortForward", {1: pod.id, 2: [38473]})[1].decode()
        try:
            with machine.network():
                answer = port_forward.ask(url, 38473, b"GET / HTTP/1.0\r\n\r\n")
        except ConnectionError:
            return False
        return answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"through\n")

    wait_for(answers, "an answer through the forwarded port")


@pytest.mark.parametrize("pod", ["audited"], indirect=True)
def test_a_hook_for_a_namespace(pod: Pod, host: ConfiguredHost) -> None:
    file = host.log / "audited"
    before = len(file.read_text().split())
    pod.start(pod.create("main", "/bin/sleep", "600"))
    assert len(file.read_text().split()) == before + 1


def test_a_cdi_device(pod: Pod) -> None:
    """By hookrun, or by containerd 2 itself, which knows the same directory."""
    command = ["/bin/sh", "-c", "echo $GPU >/gpu; exec sleep 600"]
    container = pod.start(pod.create("main", *command, annotations={"cdi.k8s.io/test": "vendor.com/gpu=a"}))
    wait_for(lambda: pod.execute(container, "cat", "/gpu")[1] == "0\n", "the container to see its device's variable")


def test_a_refusal_reaches_the_kubelet(pod: Pod) -> None:
    container = pod.create("refused", "/bin/sleep", "600")
    with pytest.raises(grpc.RpcError) as refusal:
        pod.start(container)
    assert "policy no-root: not in my cluster" in str(refusal.value)


@pytest.mark.parametrize("machine", [HERE.release], indirect=True)
def test_this_containerd_has_no_checkpoints(pod: Pod) -> None:
    """Debian 12's has never been told of them, whatever the runtime can; test_cri_checkpoint.py has a later one."""
    container = pod.start(pod.create("main", "/bin/sleep", "600"))
    with pytest.raises(grpc.RpcError) as refusal:
        pod.cri("CheckpointContainer", {1: container, 2: "/nowhere.tar"})
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
