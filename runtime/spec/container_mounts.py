"""The config's mounts as the rest of the runtime reads them, and what is refused of them before anything is made.

Source: config.md "Mounts"; runc: specconv/spec_linux.go createLibcontainerMount, configs/validate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hookrun.runtime.documents import Config, IdMapping
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import paths
from hookrun.runtime.linux.mount_options import PROPAGATION, Options
from hookrun.runtime.linux.mounts import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REC
from hookrun.runtime.log import Log
from hookrun.runtime.spec.sections import linux, namespace_paths, root_path

Origin = tuple[str, bool]
"""Of a bind: its source, and whether the mounts below that come along."""


@dataclass(slots=True)
class Mount:
    """One entry of `mounts`."""

    destination: str
    """Inside the rootfs, as the config spells it."""
    source: str
    kind: str
    """The file system's type; "bind" for every bind mount."""
    options: Options
    uid_mappings: list[IdMapping] = field(default_factory=list)
    gid_mappings: list[IdMapping] = field(default_factory=list)

    @property
    def is_bind(self) -> bool:
        return bool(self.options.flags & MS_BIND)

    @property
    def is_recursive(self) -> bool:
        return bool(self.options.flags & MS_REC)

    @property
    def origin(self) -> Origin:
        return self.source, self.is_recursive

    @property
    def is_id_mapped(self) -> bool:
        return bool(self.options.idmap or self.uid_mappings or self.gid_mappings)

    @property
    def place(self) -> str:
        """The destination without empty parts and dots, relative to the root: `dev/pts`."""
        return paths.lexical(self.destination)

    @property
    def is_read_only_later(self) -> bool:
        """Whether it stays writable until the rootfs is finished: what lies in /dev and in a tmpfs is made after it."""
        return bool(self.options.flags & MS_RDONLY) and (self.kind == "tmpfs" or self.place == "dev")


def parse(entry: Mapping[str, Any], bundle: str, root: str) -> Mount:
    """The mount of one entry of `mounts`; relative sources of binds start at the bundle. Raises Failure.

    A destination that names the rootfs too is meant inside it (runc: LexicallyStripRoot).
    """
    options = Options(entry.get("options") or [])
    destination: str = entry.get("destination") or ""
    if f"{destination}/".startswith(f"{root}/"):
        destination = destination.removeprefix(root) or "/"
    mount = Mount(destination, entry.get("source") or "", entry.get("type") or "", options)
    if mount.is_bind:
        mount.kind = "bind"
        if not mount.source.startswith("/"):
            mount.source = f"{bundle}/{mount.source}"
    mount.uid_mappings = entry.get("uidMappings") or []
    mount.gid_mappings = entry.get("gidMappings") or []
    if "\0" in mount.source + mount.destination + mount.kind + ",".join(options.data):
        raise Failure(f"invalid mount {describe(mount)}: mount field contains null byte")
    return mount


def parse_all(config: Mapping[str, Any], bundle: str) -> list[Mount]:
    """The config's mounts in their order. Raises Failure."""
    root = root_path(config, bundle)
    return [parse(entry, bundle, root) for entry in config.get("mounts") or []]


def describe(mount: Mount) -> str:
    """A mount for an error message."""
    return f"{mount.source!r} to {mount.destination!r} of type {mount.kind!r}"


def rootfs_propagation(config: Config) -> int:
    """The MS_ flags of linux.rootfsPropagation; 0 where there is none. Raises Failure."""
    name: str = linux(config).get("rootfsPropagation") or ""
    if name and name not in PROPAGATION:
        raise Failure(f"rootfsPropagation={name} is not supported")
    return PROPAGATION.get(name, 0)


def check(config: Config, bundle: str, log: Log, *, no_pivot: bool) -> None:
    """Refuse what runc refuses of the config's mounts, in runc's words. Called by the parent. Raises Failure."""
    if rootfs_propagation(config) & MS_PRIVATE and no_pivot:
        raise Failure("rootfsPropagation of [r]private is not safe without pivot_root")
    has_userns = "user" in namespace_paths(config)
    rootless = os.geteuid() != 0
    for mount in parse_all(config, bundle):
        if not mount.destination.startswith("/"):
            log.warning(
                f"mount destination {mount.destination} is not absolute. Support for non-absolute mount destinations "
                "will be removed in a future release."
            )
        if mount.is_bind and mount.options.data:
            log.warning(
                f"mount {describe(mount)}: {','.join(mount.options.data)} is ignored: bind mounts have no "
                "filesystem-specific options of their own"
            )
        fault = _fault(mount, has_userns=has_userns, rootless=rootless)
        if fault:
            raise Failure(f"invalid mount {describe(mount)}: {fault}")


def _fault(mount: Mount, *, has_userns: bool, rootless: bool) -> str:
    if not mount.is_id_mapped:
        return ""
    if not mount.is_bind:
        return "id-mapped mounts are only supported for bind-mounts"
    if rootless:
        return "id-mapped mounts are not supported for rootless containers"
    has_own = bool(mount.uid_mappings or mount.gid_mappings)
    if not (mount.uid_mappings and mount.gid_mappings) and (has_own or not has_userns):
        return "id-mapped mounts must have both uid and gid mappings specified"
    return ""
