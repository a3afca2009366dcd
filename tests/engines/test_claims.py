"""Who asks, under real engines: labels and images as they keep them, and names that nobody can give himself.

And what they ask for later: an update's limits.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.engines.conftest import IMAGE
from tests.support import cri as cris
from tests.support.configured import ConfiguredHost
from tests.support.containerd import CONTAINERD, CTR, Containerd
from tests.support.cri import Cri, Pod
from tests.support.docker import DOCKERD, Docker
from tests.support.generations import Machine
from tests.support.podman import PODMAN, Podman
from tests.support.runtimes import Result, fresh_id, wait_for

SHOP = {"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.pod.namespace": "shop", "tier": "front"}
ANNOTATIONS = [word for name, value in SHOP.items() for word in ("--annotation", f"{name}={value}")]

_MEMORY_LIMIT = 4  # of LinuxContainerResources (kubernetes' cri-api)
LIMIT = 256 << 20
MEMORY = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
POLICIES: dict[str, dict[str, Any]] = {
    "by-label": {"match": {"labels": {"tier": "front"}}, "deny": [{"message": "no tier front"}]},
    "by-image": {"match": {"image": {"matches": "forbidden"}}, "deny": [{"message": "not this image"}]},
    "by-namespace": {"match": {"namespace": "shop"}, "deny": [{"message": "not in the namespace shop"}]},
    "ceiling": {"resources": {"max": {"memory": LIMIT}}},
    # An engine that is exempted, as people exempt the one of their cluster.
    "by-engine": {
        "match": [{"none": {"engine": ["docker", "kubernetes", "cri-o", "podman"]}}],
        "deny": [{"when": {"field": "/process/args/*", "equals": "--as-any-other"}, "message": "not exempted"}],
    },
}


@pytest.fixture(scope="module")
def host(place: Path, machine: Machine) -> Iterator[ConfiguredHost]:
    made = ConfiguredHost(place / "host", machine)
    (made.config / "policies.d").mkdir()
    for name, spec in POLICIES.items():
        policy = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": name}, "spec": spec}
        (made.config / f"policies.d/{name}.yaml").write_text(json.dumps(policy))
    made.apply()
    yield made
    made.close()


needs_docker = pytest.mark.skipif(not Path(DOCKERD).exists(), reason="needs dockerd")
needs_podman = pytest.mark.skipif(not Path(PODMAN).exists(), reason="needs podman")
needs_containerd = pytest.mark.skipif(
    not Path(CONTAINERD).exists() or not Path(CTR).exists(), reason="needs containerd and ctr"
)


@pytest.fixture(scope="module")
def docker_run(docker: Docker, host: ConfiguredHost) -> Iterator[Callable[..., Result]]:
    """`docker run` with the host's policies."""
    file = docker.directory / "daemon.json"
    before = file.read_text()
    host.register("docker", file, "--name", "hr-claims")
    docker.reload()
    wait_for(
        lambda: "hr-claims" in docker.check("info", "--format", "{{json .Runtimes}}"), "dockerd to know the runtime"
    )
    docker.check("tag", IMAGE, "forbidden")
    yield lambda *words: docker("run", "--rm", "--runtime", "hr-claims", "--network", "none", *words)
    docker("rmi", "forbidden")
    file.write_text(before)
    docker.reload()


@pytest.fixture(scope="module")
def podman(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[Podman]:
    made = Podman(place / "podman", host.launcher, machine=machine)
    made.import_image(image_rootfs, "localhost/hookrun-test")
    made.check("tag", "localhost/hookrun-test", "localhost/forbidden")
    yield made
    made.close()


@pytest.fixture(scope="module")
def cri(place: Path, host: ConfiguredHost, image_rootfs: Path, machine: Machine) -> Iterator[tuple[Containerd, Cri]]:
    with cris.daemon(place, image_rootfs, lambda config: host.register("containerd", config), machine) as made:
        yield made


@needs_docker
def test_labels_and_images_of_docker(docker_run: Callable[..., Result], host: ConfiguredHost) -> None:
    assert docker_run("--label", "tier=back", IMAGE, "echo", "--as-any-other").out == "--as-any-other\n"
    line = host.lines("create")[-1]
    assert line["engine"] == "docker"
    assert line["told"] == {"image": IMAGE, "labels": {"tier": "back"}}
    assert "no tier front" in docker_run("--label", "tier=front", IMAGE, "true").err
    assert "not this image" in docker_run("forbidden", "true").err


@needs_docker
def test_exec_under_docker(docker: Docker, docker_run: Callable[..., Result], host: ConfiguredHost) -> None:
    name = fresh_id("claims")
    assert docker_run("-d", "--name", name, IMAGE, "sleep", "600").status == 0
    try:
        assert docker.check("exec", name, "echo", "--as-any-other") == "--as-any-other"
        assert host.lines("exec")[-1]["engine"] == "docker"
    finally:
        docker("rm", "-f", name)


@needs_podman
def test_labels_and_images_of_podman(podman: Podman, host: ConfiguredHost) -> None:
    run = ("run", "--rm", "--network", "none")
    assert podman(*run, "--label", "tier=back", "hookrun-test", "echo", "--as-any-other").out == "--as-any-other\n"
    line = host.lines("create")[-1]
    assert line["engine"] == "podman"
    assert line["told"] == {"image": "localhost/hookrun-test:latest", "labels": {"tier": "back"}}
    assert "no tier front" in podman(*run, "--label", "tier=front", "hookrun-test", "true").err
    assert "not this image" in podman(*run, "localhost/forbidden", "true").err


@needs_podman
def test_podman_update(podman: Podman, host: ConfiguredHost) -> None:
    name = fresh_id("claims")
    podman.check("run", "-d", "--name", name, "--network", "none", "--memory", "128m", "hookrun-test", "sleep", "600")
    assert podman.check("exec", name, "sh", "-c", MEMORY) == str(128 << 20)
    podman.check("update", "--memory", "1g", name)
    assert podman.check("exec", name, "sh", "-c", MEMORY) == str(LIMIT)
    assert host.lines("update")[-1]["engine"] == "podman"
    podman.check("rm", "--force", "--time", "0", name)


@needs_podman
def test_annotations_name_no_namespace(podman: Podman, host: ConfiguredHost) -> None:
    assert (
        podman("run", "--rm", "--network", "none", *ANNOTATIONS, "hookrun-test", "echo", "it runs").out == "it runs\n"
    )
    assert host.lines("create")[-1]["told"]["labels"] == {}


@needs_containerd
@pytest.mark.parametrize("namespace", ["k8s.io", "moby", "default"])
def test_a_namespace_of_containerds_makes_no_engine(
    cri: tuple[Containerd, Cri], host: ConfiguredHost, image_rootfs: Path, tmp_path: Path, namespace: str
) -> None:
    """`ctr -n k8s.io run --annotation …`: whoever may call containerd chooses both."""
    containerd, _ = cri
    rootfs = tmp_path / "rootfs"
    shutil.copytree(image_rootfs, rootfs, symlinks=True)
    words = [
        "--namespace",
        namespace,
        "run",
        "--rm",
        "--runc-binary",
        str(host.launcher),
        *ANNOTATIONS,
        "--rootfs",
        str(rootfs),
    ]
    run = containerd(*words, fresh_id("claims"), "/bin/echo", "it runs")
    assert run.out == "it runs\n", run.err
    line = host.lines("create")[-1]
    assert (line["engine"], line["told"]["labels"]) == ("containerd", {})
    assert "not exempted" in containerd(*words, fresh_id("claims"), "/bin/echo", "--as-any-other").err


@needs_containerd
def test_a_pod_has_a_namespace(cri: tuple[Containerd, Cri], host: ConfiguredHost) -> None:
    with pytest.raises(grpc.RpcError, match="not in the namespace shop"):
        Pod(cri[1], "shop")
    pod = Pod(cri[1], "default")
    try:
        container = pod.start(pod.create("main", "/bin/sleep", "600", annotations=SHOP))
        assert pod.execute(container, "echo", "--as-any-other")[:2] == (0, "--as-any-other\n")
        lines = [line for line in host.lines() if line["container"] in (container, pod.id)]
        assert {line["engine"] for line in lines} == {"kubernetes"}
        assert {"create", "exec"} <= {line["command"] for line in lines}
        pod.cri("UpdateContainerResources", {1: container, 2: {_MEMORY_LIMIT: 1 << 30}})
        assert pod.execute(container, "sh", "-c", MEMORY)[1] == f"{LIMIT}\n"
    finally:
        pod.remove()
