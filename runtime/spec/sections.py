"""The parts of a config that have been asked for everywhere since `config` found nothing wrong with it."""

from __future__ import annotations

import os
from typing import Any


def linux(config: dict[str, Any]) -> dict[str, Any]:
    """The config's `linux` object, {} where there is none."""
    found: dict[str, Any] = config.get("linux") or {}
    return found


def namespace_paths(config: dict[str, Any]) -> dict[str, str]:
    """The namespaces asked for: kind to the path to join, "" for a new one."""
    return {entry["type"]: entry.get("path") or "" for entry in linux(config).get("namespaces") or ()}


def root_path(config: dict[str, Any], bundle: str) -> str:
    """The rootfs as an absolute path without `.` and `..`."""
    return os.path.normpath(os.path.join(bundle, config["root"]["path"]))
