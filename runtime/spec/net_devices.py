"""Which network devices a config may ask for (config-linux.md "Network Devices"; runc: configs/validate)."""

from __future__ import annotations

import os

from hookrun.runtime.documents import NetDevice
from hookrun.runtime.errors import Failure

_LONGEST_NAME = 15


def check(devices: dict[str, NetDevice], *, has_network_namespace: bool) -> None:
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
