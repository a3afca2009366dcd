"""The configs of calls before their change, masked, each kept once under its hash beside the record."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.linux import files

DIRECTORY = "configs"
PACKED = ".z"  # of configs that `hookctl trace prune` compressed


def keep(directory: str, name: str, config: dict[str, Any]) -> None:
    """Keep a config in the record's directory. Where that can't be done, the record's line itself will say so too."""
    path = f"{directory}/{DIRECTORY}/{name}.json"
    if _count_as_used(path) or _count_as_used(path + PACKED):
        return
    try:
        os.makedirs(f"{directory}/{DIRECTORY}", 0o700, exist_ok=True)
        files.replace(path, jsonio.dumps(config).encode())
    except OSError:
        return


def _count_as_used(path: str) -> bool:
    """Make a kept config count as new, or age would take it from under the new call; whether there is one."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
