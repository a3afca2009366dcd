"""The devices of a config and those that every container has (config-linux.md "Devices"; runc: AllowedDevices)."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Any

from hookrun.runtime.documents import Device
from hookrun.runtime.errors import Failure
from hookrun.runtime.spec.sections import linux

TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_LARGEST = {"major": 0xFFF, "minor": 0xFFFFF}  # the kernel keeps 12 and 20 bits (include/linux/kdev_t.h)

DEFAULTS: tuple[Device, ...] = (
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9},
)


def check(config: Mapping[str, Any]) -> None:
    """Refuse devices of no known type, in runc's words, and numbers that mknod(2) would cut to another device's.

    Called by the parent. Raises Failure.
    """
    for index, device in enumerate(of_config(config)):
        if device.get("type") not in TYPES:
            raise Failure(f'invalid device type "{device.get("type") or ""}"')
        numbers = {"major": device.get("major") or 0, "minor": device.get("minor") or 0}
        for field, number in numbers.items():
            if device.get("path") and not 0 <= number <= _LARGEST[field]:
                raise Failure(
                    f"config.json: linux.devices.{index}.{field}: {number} is out of range (0 to {_LARGEST[field]})"
                )


def paths_of(config: Mapping[str, Any]) -> list[str]:
    """Where the config's devices and the default ones are."""
    return [device["path"] for device in (*DEFAULTS, *of_config(config)) if device.get("path")]


def of_config(config: Mapping[str, Any]) -> list[Device]:
    """The entries of linux.devices."""
    found: list[Device] = linux(config).get("devices") or []
    return found
