"""What is claimed of a container counts only if the engine's own records, which root alone writes, bear it out."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper.caller import bolt, claims, engine
from tests.support.bundles import BUSYBOX
from tests.support.places import short_place
from tests.wrapper.caller.test_engine import USER

ID = "e56af804b82e724070d82dbce6f5dcca764198bb121f1177d3e42e87dcee602d"
CRIO = "io.kubernetes.cri-o.Labels"


@pytest.fixture
def place() -> Iterator[Path]:
    with short_place() as place:
        yield place


def caller(name: str, shim: int = 1) -> engine.Caller:
    found = engine.caller()
    found.engine, found.shim = name, shim
    return found


def config(root: Path | str) -> dict[str, Any]:
    return {"root": {"path": str(root)}}


def dockers_record(data_root: Path) -> Path:
    directory = data_root / "containers" / ID
    directory.mkdir(parents=True)
    file = directory / "config.v2.json"
    file.write_text(json.dumps({"ID": ID, "Config": {"Image": "shop:1", "Labels": {"tier": "front"}}}))
    return file


LAYOUTS = [
    "overlay2/abc/merged",
    f"vfs/dir/{ID}",
    f"rootfs/overlayfs/{ID}",
    "btrfs/subvolumes/abc",
    "fuse-overlayfs/abc/merged",
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("below", ["docker", "docker/165536.165536"], ids=["plain", "remapped"])
def test_dockers_data_root_is_found_from_the_root_file_system(place: Path, below: str, layout: str) -> None:
    dockers_record(place / below)
    found = config(place / below / layout)
    assert claims.confirmed(caller("docker"), ID, found) == "docker"
    assert claims.image("docker", ID, found) == "shop:1"
    assert claims.labels("docker", ID, found) == {"tier": "front"}


def test_a_plugin_of_dockers(place: Path) -> None:
    plugin = place / "docker/plugins" / ID
    (plugin / "rootfs").mkdir(parents=True)
    (plugin / "config.json").write_text("{}")
    assert claims.confirmed(caller("docker"), ID, config(plugin / "rootfs")) == "docker"
    assert claims.confirmed(caller("docker"), "other", config(plugin / "rootfs")) == "containerd"


def test_who_is_not_known_to_docker_is_not_dockers(place: Path) -> None:
    """`ctr -n moby run`: the namespace is the caller's own choice."""
    file = dockers_record(place / "docker")
    root = config(place / "docker/overlay2/abc/merged")
    assert claims.confirmed(caller("docker"), "another", root) == "containerd"
    assert claims.confirmed(caller("docker"), ID, config("/srv/rootfs")) == "containerd"
    assert claims.confirmed(caller("docker"), ID, config("rootfs")) == "containerd"
    assert claims.confirmed(caller("docker"), "../docker", root) == "containerd"
    os.chown(file, USER, USER)
    assert claims.confirmed(caller("docker"), ID, root) == "containerd"
    assert claims.labels("docker", ID, root) == {}
    os.chown(file, 0, 0)
    file.chmod(0o666)
    assert claims.confirmed(caller("docker"), ID, root) == "containerd"
    file.chmod(0o600)
    file.rename(file.with_name("real"))
    file.symlink_to("real")
    assert claims.confirmed(caller("docker"), ID, root) == "containerd"


def test_what_is_no_claim_stands(place: Path) -> None:
    assert claims.confirmed(caller("docker", shim=0), ID, config("/srv")) == "docker"
    assert claims.confirmed(caller("podman", shim=0), ID, config("/srv")) == "podman"
    assert claims.confirmed(caller("containerd"), ID, config("/srv")) == "containerd"
    assert claims.confirmed(caller("docker"), ID, {}) == "containerd"
    assert claims.confirmed(caller("docker"), ID, {"root": None}) == "containerd"
    assert claims.confirmed(caller("docker"), ID, None) == "docker", "another runtime does not say where its bundle is"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"Config": []}', '{"Config": {"Labels": null}}', '{"Config": {"Labels": [1], "Image": 7}}']
)
def test_a_record_of_another_form(place: Path, text: str) -> None:
    dockers_record(place).write_text(text)
    found = config(place / "overlay2/abc/merged")
    assert claims.labels("docker", ID, found) == {}
    assert claims.image("docker", ID, found) == ""


@pytest.mark.parametrize(
    ("kind", "answer"), [("containers", "kubernetes"), ("sandboxes", "kubernetes"), ("other", "containerd")]
)
def test_pods_are_those_of_the_cri_plugin(place: Path, kind: str, answer: str) -> None:
    """`ctr -n k8s.io run`: the CRI plugin has a directory for each of its own."""
    work = place / "io.containerd.runtime.v2.task/k8s.io/sandbox"
    work.mkdir(parents=True)
    made = place / "io.containerd.grpc.v1.cri" / kind / ID
    made.mkdir(parents=True)
    shim = subprocess.Popen([BUSYBOX, "sleep", "600"], cwd=work, stdin=subprocess.DEVNULL)
    try:
        assert claims.confirmed(caller("kubernetes", shim.pid), ID, {}) == answer
        assert claims.confirmed(caller("kubernetes", shim.pid), "x", {}) == "containerd"
        os.chown(made, USER, USER)
        assert claims.confirmed(caller("kubernetes", shim.pid), ID, {}) == "containerd"
    finally:
        shim.kill()
        shim.wait(60)


@pytest.mark.parametrize(
    ("annotations", "labels"),
    [
        ({CRIO: '{"app": "shop"}'}, {"app": "shop"}),
        (
            {CRIO: '{"app": "x", "io.kubernetes.pod.name": "forged"}', "io.kubernetes.pod.name": "web"},
            {"app": "x", "io.kubernetes.pod.name": "web"},
        ),
        ({CRIO: "[]"}, {}),
        ({CRIO: "{"}, {}),
        ({CRIO: 7}, {}),
        (None, {}),
    ],
)
def test_labels_of_cri_o(annotations: Any, labels: dict[str, str]) -> None:
    assert claims.labels("cri-o", ID, {"annotations": annotations}) == labels


@pytest.mark.parametrize("name", ["kubernetes", "containerd", "buildah", "buildkit", "rootless-docker", "bash", ""])
def test_who_tells_no_labels(place: Path, name: str) -> None:
    dockers_record(place)
    found = {**config(place / "overlay2/abc/merged"), "annotations": {CRIO: '{"app": "shop"}', "app": "shop"}}
    assert claims.labels(name, ID, found) == {}
    assert claims.image(name, ID, found) == ""


def test_the_storage_of_podman_and_cri_o(place: Path) -> None:
    directory = place / "storage/overlay-containers"
    directory.mkdir(parents=True)
    entries = [{"id": "x"}, {"id": ID, "metadata": json.dumps({"image-name": "docker.io/library/nginx:1"})}]
    file = directory / "containers.json"
    file.write_text(json.dumps(entries))
    root = config(place / "storage/overlay/abc/merged")
    for name in ("podman", "cri-o"):
        assert claims.image(name, ID, root) == "docker.io/library/nginx:1"
        assert claims.image(name, "x", root) == claims.image(name, "nosuch", root) == ""
    file.rename(directory / "volatile-containers.json")
    assert claims.image("podman", ID, root) == "docker.io/library/nginx:1"
    (directory / "volatile-containers.json").chmod(0o666)
    assert claims.image("podman", ID, root) == ""


@pytest.mark.parametrize("kept_as", [bytes.decode, bytes], ids=["Podman 5.4", "Podman 5.8"])
def test_labels_in_libpods_newer_database(place: Path, kept_as: Callable[[bytes], str | bytes]) -> None:
    """Podman 4.8 and later: libpod/sqlite_state_internal.go."""
    (place / "storage/overlay-containers").mkdir(parents=True)
    file = place / "storage/db.sql"
    database = sqlite3.connect(file)
    database.execute(
        "CREATE TABLE ContainerConfig(ID TEXT PRIMARY KEY NOT NULL, Name TEXT, PodID TEXT, JSON TEXT NOT NULL)"
    )
    database.execute(
        "INSERT INTO ContainerConfig VALUES (?, 'web', NULL, ?)", (ID, kept_as(b'{"labels": {"tier": "front"}}'))
    )
    database.commit()
    database.close()
    file.chmod(0o600)
    root = config(place / "storage/overlay/abc/merged")
    assert claims.labels("podman", ID, root) == {"tier": "front"}
    assert claims.labels("podman", "x", root) == {}
    os.chown(file, USER, USER)
    assert claims.labels("podman", ID, root) == {}


@pytest.mark.parametrize("data", [b"", b"x" * 100, bytes(8192)], ids=["empty", "short", "zeros"])
def test_a_damaged_bolt_database(place: Path, data: bytes) -> None:
    file = place / "bolt_state.db"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"cut short|no meta page"):
        bolt.value(str(file), b"ctr", b"x", b"config")
