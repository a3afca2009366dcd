"""A client of the Container Runtime Interface, as much of it as a kubelet needs for one pod.

Messages are dicts of field numbers (kubernetes' cri-api, runtime/v1/api.proto) in protobuf's wire format, which takes a
few lines; gRPC comes from grpcio.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.support.containerd import Containerd
from tests.support.generations import HERE, Machine
from tests.support.runtimes import fresh_id, wait_for

Fields = dict[int, Any]

IMAGE = "docker.io/library/hookrun-test:latest"
RUNNING, EXITED = 1, 2
_NODE = 2  # the host's network: a pod that needs no CNI plugin
# Where CDI is the engine's work (containerd 2), it looks below its own directory.
# A handler is like the default runtime: what is registered inherits the state directory of the test's own.
_PLUGIN = """
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
stream_server_port = "0"
cdi_spec_dirs = ["{place}/cdi"]
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{place}/cni/bin"
conf_dir = "{place}/cni/conf"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
container_annotations = ["cdi.k8s.io/*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{place}/runc"
"""

_VARINT = 0
_FIXED64 = 1
_BYTES = 2


def encode(fields: Fields) -> bytes:
    """A message: ints, strings, bytes, messages as dicts, and lists of those for repeated fields."""
    parts = []
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                parts.append(_varint(number << 3 | _VARINT) + _varint(one))
            else:
                data = encode(one) if isinstance(one, dict) else one.encode() if isinstance(one, str) else one
                parts.append(_varint(number << 3 | _BYTES) + _varint(len(data)) + data)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def decode(data: bytes) -> dict[int, Any]:
    """A message's fields, the last of repeated ones: ints, and bytes for all else."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 == _VARINT:
            found[key >> 3], at = _read_varint(data, at)
            continue
        length, at = (8, at) if key & 7 == _FIXED64 else _read_varint(data, at)
        found[key >> 3] = data[at : at + length]
        at += length
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def pairs(values: dict[str, str]) -> list[Fields]:
    """A map of strings."""
    return [{1: name, 2: value} for name, value in values.items()]


class Cri:
    """Calls of the runtime service behind a socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def __call__(self, method: str, request: Fields, timeout: float = 120) -> dict[int, Any]:
        """Call a method. Raises grpc.RpcError."""
        call = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        answer: bytes = call(encode(request), timeout=timeout)
        return decode(answer)

    def close(self) -> None:
        self._channel.close()


@contextmanager
def daemon(
    place: Path, image_rootfs: Path, register: Callable[[Path], None], machine: Machine = HERE
) -> Iterator[tuple[Containerd, Cri]]:
    """A containerd with its CRI plugin and the image of the engine tests on `machine`.

    `register` is given its config.toml.
    """
    made = Containerd(place, _PLUGIN.format(image=IMAGE, place=place), namespace="k8s.io", machine=machine)
    register(made.config)
    (place / "image.tar").write_bytes(image_archive(image_rootfs, "/bin/sleep", "100000"))
    client = Cri(made.socket)
    try:
        made.start()
        made.check("image", "import", "--no-unpack", str(place / "image.tar"))
        wait_for(lambda: _answers(client), f"the CRI plugin: {made.log}", 60)
        yield made, client
    finally:
        client.close()
        made.stop()


def _answers(client: Cri) -> bool:
    try:
        return bool(client("Version", {})[2] == b"containerd")
    except grpc.RpcError:
        return False


def image_archive(rootfs: Path, *entrypoint: str) -> bytes:
    """An image of a directory in `docker save`'s format; its name is IMAGE."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(rootfs, ".")
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]},
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


class Pod:
    """A pod sandbox, and containers in it."""

    def __init__(self, cri: Cri, namespace: str, handler: str = "hookrun") -> None:
        name = fresh_id("pod")
        self.cri = cri
        self.config: dict[int, Any] = {
            1: {1: name, 2: f"uid-{name}", 3: namespace},
            6: pairs({"app": "test"}),
            8: {2: {1: {1: _NODE}}},
        }
        self.id: str = cri("RunPodSandbox", {1: self.config, 2: handler})[1].decode()

    def create(self, name: str, *command: str, annotations: dict[str, str] | None = None) -> str:
        config = {
            1: {1: name},
            2: {1: IMAGE},
            3: list(command),
            6: [{1: "A", 2: b"1"}],
            10: pairs(annotations or {}),
            15: {2: {3: {1: _NODE}}},
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
