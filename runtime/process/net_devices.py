"""Network devices of the host that a container gets (config-linux.md "Network Devices"; runc: network_linux.go).

A device is moved by its name, gets its new name and its global addresses back and is set up. When the
container's network namespace ends, the kernel hands physical devices back by itself.
"""

from __future__ import annotations

import os

from hookrun.runtime.documents import NetDevice
from hookrun.runtime.errors import failing
from hookrun.runtime.linux import rtnetlink


def move_in(devices: dict[str, NetDevice], pid: int) -> None:
    """Move the devices into the network namespace of a process. Raises Failure."""
    path = f"/proc/{pid}/ns/net"
    with failing(f"open {path}"):
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for name, device in devices.items():
            new_name = (device or {}).get("name") or name
            with failing(f"move netdevice {name} to container"):
                rtnetlink.move(name, new_name, namespace)
    finally:
        os.close(namespace)
