"""Network devices of the host that a container gets (config-linux.md "Network Devices"; runc: network_linux.go).

A device is moved by its name, gets its new name and its global addresses back and is set up. When the
container's network namespace ends, the kernel hands physical devices back by itself.
"""

from __future__ import annotations

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LONGEST_NAME = 15


def check(devices: dict[str, Any], has_network_namespace: bool) -> None:
    """Refuse what runc refuses, in its words. Raises Failure."""
    if not has_network_namespace:
        raise Failure("unable to move network devices without a NET namespace")
    if os.geteuid() != 0:
        raise Failure("network devices are not supported for rootless containers")
    for name, device in devices.items():
        for spelled in (name, (device or {}).get("name") or name):
            if not _is_valid_name(spelled):
                raise Failure(f'invalid network device name "{spelled}"')


def _is_valid_name(name: str) -> bool:
    plain = not any(character in name for character in "/: \t\n")
    return 0 < len(name.encode()) <= _LONGEST_NAME and name not in (".", "..") and plain


def move_in(devices: dict[str, Any], pid: int) -> None:
    """Move the devices into the network namespace of a process. Raises Failure."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for name, device in devices.items():
            new_name = (device or {}).get("name") or name
            try:
                rtnetlink.move(name, new_name, namespace)
            except OSError as error:
                raise Failure(f"move netdevice {name} to container: {reason(error)}") from None
    finally:
        os.close(namespace)
