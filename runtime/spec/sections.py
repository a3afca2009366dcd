"""The parts of a config that have been asked for everywhere since `config` found nothing wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hookrun.runtime.documents import Linux


def linux(config: Mapping[str, Any]) -> Linux:
    """The config's `linux` object, {} where there is none."""
    found: Linux | None = config.get("linux")
    return found or {}


def namespace_paths(config: Mapping[str, Any]) -> dict[str, str]:
    """The namespaces asked for: kind to the path to join, "" for a new one."""
    return {entry["type"]: entry.get("path") or "" for entry in linux(config).get("namespaces") or ()}


def root_path(config: Mapping[str, Any], bundle: str) -> str:
    """The rootfs as an absolute path without `.` and `..`."""
    return os.path.normpath(os.path.join(bundle, config["root"]["path"]))
