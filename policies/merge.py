"""RFC 7386, JSON Merge Patch."""

from __future__ import annotations

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """What `patch` makes of `target`, which stays as it was; what is not changed is shared with it."""
    if not isinstance(patch, dict):
        return patch
    result = target.copy() if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
