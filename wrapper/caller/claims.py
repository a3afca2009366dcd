"""What is claimed of a container, held against what its engine alone can have written.

Whoever may call containerd's API can choose the namespace, the id and every annotation of a container; whoever may call
Docker's or Podman's, its annotations. So the engine that containerd's namespace names has to have a record of the
container, and a container's image and labels come from that record: dockerd's config.v2.json, the state directory of
containerd's CRI plugin, the storage of Podman and CRI-O. A record counts if root owns it and nobody else can write it.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.linux import files
from hookrun.wrapper.caller import containers_storage
from hookrun.wrapper.caller import engine as engines
from hookrun.wrapper.caller.engine import Caller
from hookrun.wrapper.ownership import OTHERS_WRITE

Config = dict[str, Any]

_UNCONFIRMED = "containerd"
_TASKS = "/io.containerd.runtime."  # a shim works in STATE/io.containerd.runtime.v2.task/NAMESPACE/ID
_CRI = "io.containerd.grpc.v1.cri"
_CRIO_LABELS = "io.kubernetes.cri-o.Labels"  # a JSON object (CRI-O's pkg/annotations)
_KUBELETS, _ENGINES = "io.kubernetes.", "io.kubernetes.cri"
_DOCKERS_DEPTH = 5  # DATA-ROOT/overlay2/ID/merged, DATA-ROOT/UID.GID/vfs/dir/ID, DATA-ROOT/rootfs/overlayfs/ID


def confirmed(caller: Caller, container: str, config: Config | None) -> str:
    """The engine's name, `containerd` where the one that a shim's namespace claims does not know the container.

    `config` is the container's, None where it is not known, as with another runtime's: then Docker's claim stands.
    """
    if not caller.shim or not container:
        return caller.engine
    if caller.engine == "docker" and config is not None and not _dockers_file(config, container):
        return _UNCONFIRMED
    if caller.engine == "kubernetes" and not _is_of_cri(caller.shim, container):
        return _UNCONFIRMED
    return caller.engine


def image(engine: str, container: str, config: Config) -> str:
    """The name by which the engine knows the container's image, "" where it can't be told.

    Docker's is what the user gave, Podman's and CRI-O's the whole name. Under Kubernetes with containerd it is an
    annotation.
    """
    if engine == "docker":
        found = _dockers_settings(config, container).get("Image")
    elif engine in ("podman", "cri-o"):
        found = containers_storage.image(_root_path(config), container)
    else:
        found = ""
    return found if isinstance(found, str) else ""


def name(caller: Caller, container: str, config: Config) -> str:
    """What the container is called by the user: Docker's and Podman's name, which conmon is told; else ""."""
    if caller.engine in ("docker", "rootless-docker"):
        found = _dockers_record(config, container).get("Name")
        return found.removeprefix("/") if isinstance(found, str) else ""
    return engines.after(caller.cmdline, "-n", "--name") if caller.engine.endswith("podman") else ""


def labels(engine: str, container: str, config: Config) -> Config:
    """The container's labels as its engine keeps them; none where it can't tell them."""
    if engine == "docker":
        found = _dockers_settings(config, container).get("Labels")
    elif engine == "podman":
        found = containers_storage.podmans_labels(_root_path(config), container)
    elif engine == "cri-o":
        found = _crios_labels(config)
    else:
        found = {}
    return found if isinstance(found, dict) else {}


def _crios_labels(config: Config) -> Config:
    """What CRI-O passes. The kubelet's own labels are annotations too, the last ones that CRI-O sets: they win."""
    annotations = config.get("annotations")
    if not isinstance(annotations, dict):
        return {}
    text = annotations.get(_CRIO_LABELS)
    try:
        passed = jsonio.loads(text) if isinstance(text, str) else {}
    except ValueError:
        passed = {}
    kubelets = {
        name: value
        for name, value in annotations.items()
        if name.startswith(_KUBELETS) and not name.startswith(_ENGINES)
    }
    return {**(passed if isinstance(passed, dict) else {}), **kubelets}


def _is_of_cri(shim: int, container: str) -> bool:
    """Whether containerd's CRI plugin made the container; it has a directory for each, beside those of the tasks."""
    try:
        state, found, _ = os.readlink(f"/proc/{shim}/cwd").partition(_TASKS)
    except OSError:
        return False
    places = (f"{state}/{_CRI}/{kind}/{container}" for kind in ("containers", "sandboxes"))
    return bool(found) and any(_is_roots(place) for place in places)


def _dockers_settings(config: Config, container: str) -> Config:
    found = _dockers_record(config, container).get("Config")
    return found if isinstance(found, dict) else {}


def _dockers_record(config: Config, container: str) -> Config:
    """A container's config.v2.json (moby: container/container.go)."""
    path = _dockers_file(config, container)
    if not path:
        return {}
    try:
        found = jsonio.loads(files.read_bytes(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _dockers_file(config: Config, container: str) -> str:
    """Docker's record of a container or plugin, "" if it has none. The root file system lies in the same data root."""
    directory = os.path.dirname(_root_path(config))
    if os.path.basename(directory) == container and _is_roots(f"{directory}/config.json", file=True):
        return f"{directory}/config.json"  # DATA-ROOT/plugins/ID/rootfs
    for _ in range(_DOCKERS_DEPTH):
        path = f"{directory}/containers/{container}/config.v2.json"
        if _is_roots(path, file=True):
            return path
        directory = os.path.dirname(directory)
    return ""


def _root_path(config: Config) -> str:
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    return os.path.normpath(path) if isinstance(path, str) and path.startswith("/") else "/"


def _is_roots(path: str, file: bool = False) -> bool:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    if file and not stat.S_ISREG(status.st_mode):
        return False
    return status.st_uid == 0 and not status.st_mode & OTHERS_WRITE
