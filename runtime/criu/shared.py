"""What a container shares with its host, and CRIU neither saves nor brings back: mounts, devices, namespaces.

Each has a name in the images; a restore says what is behind the name then. runc has the same names, so that each can
restore what the other has saved. Source: https://criu.org/External_bind_mounts, https://criu.org/External_files; runc:
criu_linux.go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.criu.service import Service
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import paths
from hookrun.runtime.rootfs import cgroup_mounts
from hookrun.runtime.spec import container_mounts, devices
from hookrun.runtime.spec.container_mounts import Mount
from hookrun.runtime.spec.sections import linux, namespace_paths, root_path

_NULL = "/dev/null"
_EXTERNAL = {"network": ("net", "extRootNetNS", 31100), "pid": ("pid", "extRootPidNS", 31500)}
"""By kind: the kernel's name, the name in the images, the first version of CRIU that can."""


def mounts(config: Mapping[str, Any], bundle: str, cgroup_paths: dict[str, str]) -> dict[str, str]:
    """What the host mounts into a container: the place inside to the source on the host. Raises Failure."""
    rootfs = root_path(config, bundle)
    found = {path: path for path in devices.paths_of(config)}
    for mount in container_mounts.parse_all(config, bundle):
        found.update(_sources(mount, config, cgroup_paths))
    try:
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return {f"/{paths.plain(root, place)}": source for place, source in found.items()}
        finally:
            os.close(root)
    except OSError as error:
        raise Failure(f"open {error.filename or rootfs}: {reason(error)}") from None


def _sources(mount: Mount, config: Mapping[str, Any], cgroup_paths: dict[str, str]) -> Iterator[tuple[str, str]]:
    if mount.is_bind:
        yield mount.destination, mount.source
    elif mount.kind == "cgroup" and not files.is_unified() and "cgroup" not in namespace_paths(config):
        for name, directory in cgroup_mounts.shown(cgroup_paths):
            yield f"{mount.destination}/{name}", directory


def masked_files(config: Mapping[str, Any], pid: int) -> Iterator[str]:
    """The masked paths that are files in the container of a process: /dev/null lies on them."""
    for path in linux(config).get("maskedPaths") or ():
        place = f"/proc/{pid}/root{path}"
        if os.path.exists(place) and not os.path.isdir(place):
            yield path


def note_for_dump(opts: Any, places: dict[str, str], masked: Iterator[str]) -> None:
    """Name the mounts to CRIU: each by its own place, as runc does."""
    for place in places:
        opts.ext_mnt.add(key=place, val=place)
    for path in masked:
        opts.ext_mnt.add(key=path, val=_NULL)


def note_for_restore(opts: Any, places: dict[str, str], config: Mapping[str, Any]) -> None:
    """Say what is behind the names now."""
    for place, source in places.items():
        opts.ext_mnt.add(key=place, val=source)
    if linux(config).get("maskedPaths"):
        opts.ext_mnt.add(key=_NULL, val=_NULL)


def note_namespaces_for_dump(opts: Any, config: Mapping[str, Any], criu: Service) -> None:
    """Have the namespaces that the container has joined left out of the images. Raises Failure."""
    joined = namespace_paths(config)
    for kind, (name, key, version) in _EXTERNAL.items():
        path = joined.get(kind)
        if not path:
            continue
        _demand(criu, version, name, "checkpointing")
        with failing(f"stat {path}"):
            inode = os.stat(path).st_ino
        opts.external.append(f"{name}[{inode}]:{key}")


class Joined:
    """The namespaces that a restored container joins, opened for CRIU."""

    __slots__ = ("_config", "_keys", "descriptors")

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises Failure where one is not there, or CRIU can't join its kind."""
        self._config = config
        self._keys: list[str] = []
        self.descriptors: list[int] = []
        for kind, path in namespace_paths(config).items():
            if path and kind == "cgroup":
                raise Failure("CRIU can't restore into the cgroup namespace of a path")
            if path and kind in _EXTERNAL:
                self._open(kind, path)

    def _open(self, kind: str, path: str) -> None:
        try:
            self.descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            raise Failure(f"Requested {kind} namespace {path} does not exist: {reason(error)}") from None
        self._keys.append(kind)

    def note(self, opts: Any, criu: Service, first: int) -> None:
        """Tell CRIU, to which the descriptors were passed from the number `first` on. Raises Failure."""
        for number, kind in enumerate(self._keys, first):
            name, key, version = _EXTERNAL[kind]
            _demand(criu, version, name, "the restoration")
            opts.inherit_fd.add(key=key, fd=number)
        for kind, path in namespace_paths(self._config).items():
            if path and kind not in _EXTERNAL:
                opts.join_ns.add(ns={"mount": "mnt"}.get(kind, kind), ns_file=path)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


def _demand(criu: Service, version: int, name: str, doing: str) -> None:
    if criu.version < version:
        raise Failure(f"criu lacks support for external {name} namespace during {doing} process (old criu version?)")
