"""Making the device nodes of a container: those that every one has, and those of linux.devices.

Source: runc: rootfs_linux.go createDevices.
"""

from __future__ import annotations

import errno
import os
import stat

from hookrun.runtime.documents import Config, Device
from hookrun.runtime.errors import failing
from hookrun.runtime.linux import mounts, paths
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.spec.devices import DEFAULTS, TYPES, of_config

_DEFAULT_MODE = 0o666


def create(root: int, config: Config, *, by_bind: bool) -> None:
    """Make the config's devices and the default ones; what is there stays.

    `by_bind` shows the host's nodes instead of making new ones, as a user namespace demands. Raises Failure.
    """
    own = of_config(config)
    named = {device.get("path") for device in own}
    mask = os.umask(0)
    try:
        for device in [*(default for default in DEFAULTS if default["path"] not in named), *own]:
            # A device without a path is there for the cgroup's sake; /dev/ptmx is a symlink made later.
            path = device.get("path") or ""
            if path and paths.lexical(path) != "dev/ptmx":
                _create(root, path, device, by_bind=by_bind)
    finally:
        os.umask(mask)


def _create(root: int, path: str, device: Device, *, by_bind: bool) -> None:
    with failing(f"error creating device nodes: mknodat {path}"):
        parent, name = paths.open_parent(root, path)
        try:
            if by_bind or not _make_node(parent, name, device):
                _bind_node(parent, name, path)
        finally:
            os.close(parent)


def _make_node(parent: int, name: str, device: Device) -> bool:
    """Make a node; False where that is not permitted. Raises OSError."""
    mode = device.get("fileMode")
    kind = TYPES[device["type"]]
    number = os.makedev(device.get("major") or 0, device.get("minor") or 0)
    try:
        os.mknod(name, kind | (_DEFAULT_MODE if mode is None else stat.S_IMODE(mode)), number, dir_fd=parent)
    except FileExistsError:
        return True
    except PermissionError:
        return False
    node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(node)
        if stat.S_IFMT(found.st_mode) != kind or (kind in (stat.S_IFCHR, stat.S_IFBLK) and found.st_rdev != number):
            raise OSError(errno.EXDEV, "the new device was replaced by something else")
        call(NR.fchownat, node, b"", device.get("uid") or 0, device.get("gid") or 0, paths.AT_EMPTY_PATH)
    finally:
        os.close(node)
    return True


def _bind_node(parent: int, name: str, path: str) -> None:
    """Show the host's node of the same path. Raises Failure where the host has none, OSError."""
    with failing(f"error creating device nodes: open {path}"):
        tree = mounts.open_tree(path, recursive=False)
    target = os.open(name, os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0, dir_fd=parent)
    try:
        mounts.attach(tree, target)
    finally:
        os.close(target)
        os.close(tree)
