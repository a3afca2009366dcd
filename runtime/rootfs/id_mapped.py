"""Id-mapped mounts: a source whose owners look different through one mount.

Source: mount_setattr(2) "ID-mapped mounts", config.md "uidMappings"; runc: mount_linux.go mountFd.
"""

from __future__ import annotations

import errno
import os

from hookrun.runtime.documents import Config, IdMapping
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import mount_options, mounts, namespaces
from hookrun.runtime.spec.container_mounts import Mount
from hookrun.runtime.spec.sections import linux, namespace_paths


def map_source(tree: int, mount: Mount, config: Config) -> int:
    """Map the ids of a mount's source, a detached mount: by its own mappings, or by the container's. Raises Failure."""
    userns = _user_namespace(mount, config)
    try:
        is_recursive = mount.options.idmap == mount_options.RIDMAP
        mounts.set_attributes(tree, mounts.ATTR_IDMAP, recursive=is_recursive, userns=userns)
    except OSError as error:
        hint = (
            " (maybe the filesystem used doesn't support idmap mounts on this kernel?)"
            if error.errno == errno.EINVAL
            else ""
        )
        raise Failure(f"failed to set MOUNT_ATTR_IDMAP on {mount.source}: {reason(error)}{hint}") from None
    finally:
        os.close(userns)
    return tree


def _user_namespace(mount: Mount, config: Config) -> int:
    """A descriptor of a user namespace that has the mappings of the mount."""
    if mount.uid_mappings:
        return _new_user_namespace(mount.uid_mappings, mount.gid_mappings)
    path = namespace_paths(config).get("user")
    if path:
        with failing(f"failed to open existing userns for {mount.source} id-mapping"):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _new_user_namespace(linux(config).get("uidMappings") or [], linux(config).get("gidMappings") or [])


def _new_user_namespace(uids: list[IdMapping], gids: list[IdMapping]) -> int:
    """Make a user namespace by way of a short-lived child that only waits for its end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = namespaces.clone(namespaces.NEWUSER)
    if not pid:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(pidfd)
    try:
        _write_map(f"/proc/{pid}/uid_map", uids)
        _write_map(f"/proc/{pid}/gid_map", gids)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"failed to create userns for id-mapping: {reason(error)}") from None
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)


def _write_map(path: str, mappings: list[IdMapping]) -> None:
    """A mapping is written whole, in one write(2) (user_namespaces(7))."""
    lines = "".join(f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in mappings)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, lines.encode())
    finally:
        os.close(descriptor)
