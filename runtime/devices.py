"""Device nodes: those that every container has, and those of linux.devices.

Source: config-linux.md "Devices"; runc: specconv AllowedDevices, rootfs_linux.go createDevices.
"""

from __future__ import annotations

import errno

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import mounts, os, paths
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.sections import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHARACTER = 0o020000
_TYPES = {"c": _CHARACTER, "u": _CHARACTER, "b": 0o060000, "p": 0o010000}
_FORMAT = 0o170000
_PERMISSIONS = 0o7777
_DEFAULT_MODE = 0o666
_LARGEST = {"major": 0xFFF, "minor": 0xFFFFF}  # the kernel keeps 12 and 20 bits (include/linux/kdev_t.h)

_DEFAULTS = (
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9},
)


def check(config: dict[str, Any]) -> None:
    """Refuse devices of no known type, in runc's words, and numbers that mknod(2) would cut to another device's.

    Called by the parent. Raises Failure.
    """
    for index, device in enumerate(_own(config)):
        if device.get("type") not in _TYPES:
            raise Failure(f'invalid device type "{device.get("type") or ""}"')
        for field, largest in _LARGEST.items():
            if device.get("path") and not 0 <= (device.get(field) or 0) <= largest:
                raise Failure(
                    f"config.json: linux.devices.{index}.{field}: {device[field]} is out of range (0 to {largest})"
                )


def paths_of(config: dict[str, Any]) -> list[str]:
    """Where the config's devices and the default ones are."""
    return [device["path"] for device in (*_DEFAULTS, *_own(config)) if device.get("path")]


def create(root: int, config: dict[str, Any], by_bind: bool) -> None:
    """Make the config's devices and the default ones; what is there stays.

    `by_bind` shows the host's nodes instead of making new ones, as a user namespace demands. Raises Failure.
    """
    own = _own(config)
    named = {device.get("path") for device in own}
    mask = os.umask(0)
    try:
        for device in [*(default for default in _DEFAULTS if default["path"] not in named), *own]:
            # A device without a path is there for the cgroup's sake; /dev/ptmx is a symlink made later.
            path = device.get("path") or ""
            if path and paths.lexical(path) != "dev/ptmx":
                _create(root, path, device, by_bind)
    finally:
        os.umask(mask)


def _own(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = linux(config).get("devices") or []
    return found


def _create(root: int, path: str, device: dict[str, Any], by_bind: bool) -> None:
    try:
        parent, name = paths.open_parent(root, path)
        try:
            if by_bind or not _make_node(parent, name, device):
                _bind_node(parent, name, path)
        finally:
            os.close(parent)
    except OSError as error:
        raise Failure(f"error creating device nodes: mknodat {path}: {reason(error)}") from None


def _make_node(parent: int, name: str, device: dict[str, Any]) -> bool:
    """Make a node; False where that is not permitted. Raises OSError."""
    mode = device.get("fileMode")
    kind = _TYPES[device["type"]]
    number = os.makedev(device.get("major") or 0, device.get("minor") or 0)
    try:
        os.mknod(name, kind | (_DEFAULT_MODE if mode is None else mode & _PERMISSIONS), number, dir_fd=parent)
    except FileExistsError:
        return True
    except PermissionError:
        return False
    node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(node)
        if found.st_mode & _FORMAT != kind or (kind in (_CHARACTER, _TYPES["b"]) and found.st_rdev != number):
            raise OSError(errno.EXDEV, "the new device was exchanged for something else")
        call(NR.fchownat, node, b"", device.get("uid") or 0, device.get("gid") or 0, paths.AT_EMPTY_PATH)
    finally:
        os.close(node)
    return True


def _bind_node(parent: int, name: str, path: str) -> None:
    """Show the host's node of the same path. Raises Failure where the host has none, OSError."""
    try:
        tree = mounts.open_tree(path, recursive=False)
    except OSError as error:
        raise Failure(f"error creating device nodes: open {path}: {reason(error)}") from None
    target = os.open(name, os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0, dir_fd=parent)
    try:
        mounts.attach(tree, target)
    finally:
        os.close(target)
        os.close(tree)
