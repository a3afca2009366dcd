"""The mount type "cgroup": the container's own cgroups under one directory.

Source: cgroups(7), cgroup_namespaces(7); runc: rootfs_linux.go mountCgroupV1, mountCgroupV2.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from hookrun.runtime.documents import Config
from hookrun.runtime.linux import filesystems, mount_options, mountinfo, mounts, paths
from hookrun.runtime.linux.files import read_bytes
from hookrun.runtime.rootfs import mount_flags
from hookrun.runtime.spec.container_mounts import Mount
from hookrun.runtime.spec.sections import namespace_paths

UNIFIED = "/sys/fs/cgroup"
_DEFAULT_ATTRIBUTES = mounts.ATTR_NOEXEC | mounts.ATTR_NOSUID | mounts.ATTR_NODEV


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted v1 hierarchy, and where the calling process is in it."""

    name: str
    """The mount point's last part: `cpu,cpuacct`."""
    controllers: list[str]
    """As the file system's options: `cpu`, `name=systemd`."""
    directory: str
    """The own cgroup's path on the host."""


def is_unified() -> bool:
    """Whether the host has cgroup v2 alone."""
    try:
        descriptor = os.open(UNIFIED, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return filesystems.type_of(descriptor) == filesystems.CGROUP2
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class CgroupMounts:
    """How a container sees its cgroups."""

    has_namespace: bool
    unified_path: str
    is_rootless: bool

    def make(self, mount: Mount, target: int) -> int:
        """Put the cgroups at a directory; a descriptor of the mount's root. Raises OSError, Failure.

        The calling process is in the container's cgroups and cgroup namespace already.
        """
        if is_unified():
            tree = self._unified(mount)
            mounts.attach(tree, target)
            return tree
        tree = mounts.new_filesystem("tmpfs", "tmpfs", ["mode=755"], _DEFAULT_ATTRIBUTES)
        mounts.attach(tree, target)
        for hierarchy in _hierarchies():
            self._show(hierarchy, mount, tree)
        return tree

    def _unified(self, mount: Mount) -> int:
        try:
            attributes = mount_options.attributes(mount.options.flags)
            return mounts.new_filesystem("cgroup2", mount.source, mount.options.data, attributes)
        except OSError as error:
            # In a user namespace without a cgroup namespace of its own.
            if error.errno not in (errno.EPERM, errno.EBUSY):
                raise
        own = self.unified_path if self.has_namespace else ""
        try:
            tree = mounts.open_tree(own or UNIFIED, recursive=False)
        except FileNotFoundError:
            if not self.is_rootless:
                raise
            # An ordinary user may have no cgroup: then none is shown, least of all a writable one (CVE-2023-25809).
            return mounts.new_filesystem("tmpfs", "tmpfs", ["nr_blocks=1", "nr_inodes=1"], mounts.ATTR_RDONLY)
        mount_flags.apply(tree, mount.options.flags, mount.options.cleared)
        return tree

    def _show(self, hierarchy: Hierarchy, mount: Mount, tmpfs: int) -> None:
        """Put one v1 hierarchy below the tmpfs, and symlinks for those of several controllers."""
        make_tree = _mount_hierarchy if self.has_namespace else _bind_hierarchy
        tree = make_tree(hierarchy, mount)
        target = paths.make_directory(tmpfs, hierarchy.name)
        mounts.attach(tree, target)
        for propagation in mount.options.propagation:
            mounts.change_propagation(tree, propagation)
        os.close(target)
        os.close(tree)
        if "," in hierarchy.name:
            for controller in hierarchy.name.split(","):
                paths.make_symlink(tmpfs, controller, hierarchy.name)


def shown(cgroup_paths: dict[str, str]) -> list[tuple[str, str]]:
    """What a container without a cgroup namespace sees of v1: each hierarchy's name and its own cgroup's directory."""
    found = _hierarchies()
    return [(each.name, cgroup_paths.get(each.controllers[0], each.directory)) for each in found]


def plan(config: Config, cgroup_paths: dict[str, str]) -> CgroupMounts:
    """What the container will need, worked out by the parent; `cgroup_paths` is the cgroups' Manager.paths."""
    return CgroupMounts("cgroup" in namespace_paths(config), cgroup_paths.get("", ""), os.geteuid() != 0)


def _mount_hierarchy(hierarchy: Hierarchy, mount: Mount) -> int:
    """A mount of its own: in a cgroup namespace it shows the container's cgroup as its root."""
    read_only = mount.options.flags & mounts.MS_RDONLY
    source = "systemd" if hierarchy.name == "systemd" else "cgroup"
    attributes = _DEFAULT_ATTRIBUTES | (mounts.ATTR_RDONLY if read_only else 0)
    return mounts.new_filesystem("cgroup", source, hierarchy.controllers, attributes)


def _bind_hierarchy(hierarchy: Hierarchy, mount: Mount) -> int:
    tree = mounts.open_tree(hierarchy.directory, recursive=True)
    mount_flags.apply(tree, mount.options.flags, mount.options.cleared)
    return tree


def _hierarchies() -> list[Hierarchy]:
    """The mounted v1 hierarchies, each once."""
    own = _own_cgroups()
    found: list[Hierarchy] = []
    for mounted in mountinfo.read():
        if mounted.kind != "cgroup":
            continue
        controllers = [option for option in mounted.super_options if option in own]
        if not controllers:
            continue
        path = own[controllers[0]]
        for controller in controllers:
            del own[controller]
        inside = os.path.relpath(path, mounted.root)
        directory = os.path.normpath(f"{mounted.path}/{inside}")
        found.append(Hierarchy(os.path.basename(mounted.path), controllers, directory))
    return found


def _own_cgroups() -> dict[str, str]:
    """Controller (or `name=NAME`) to the calling process's cgroup in its v1 hierarchy."""
    found: dict[str, str] = {}
    for line in read_bytes("/proc/self/cgroup").decode("utf-8", "surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in filter(None, controllers.split(",")):
            found[controller] = path
    return found
