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
    if _is_used_again(path) or _is_used_again(path + PACKED):
        return
    try:
        os.makedirs(f"{directory}/{DIRECTORY}", 0o700, exist_ok=True)
        files.replace(path, jsonio.dumps(config).encode())
    except OSError:
        return


def _is_used_again(path: str) -> bool:
    """Whether a kept config is there; it counts as new again, or age would take it from under the new call."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
