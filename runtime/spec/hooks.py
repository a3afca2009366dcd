"""The stages of hooks, and a config's hooks for each (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUSES = {
    # From a spec in which the container was created by then; crun and the spec's validation suite hold to it.
    "prestart": "created",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}
"""What the state says in each stage (runtime.md, "Lifecycle"; runc)."""
STAGES = tuple(STATUSES)


def of_stage(config: Mapping[str, Any], stage: str) -> list[dict[str, Any]]:
    """The config's hooks for a stage."""
    found: list[dict[str, Any]] = (config.get("hooks") or {}).get(stage) or []
    return found
