"""What changed about a config, field by field: `hookctl trace diff`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException, resolve_pointer

from hookrun.wrapper.admin.output import harmless

ADDED = "+"
REMOVED = "-"
_MISSING = object()


def by_field(before: Any, patch: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(sign, JSON pointer, value as JSON text) of each value that went or came, in the patch's order.

    `before` is None where the config from before is lost; what a field held is then not told.
    """
    config = before
    for operation in patch:
        path = operation["path"]
        if operation["op"] != "add":
            old = _at(config, path)
            yield REMOVED, path, "?" if old is _MISSING else _text(old)
        if operation["op"] != "remove":
            yield ADDED, path, _text(operation["value"])
        if config is not None:
            config = jsonpatch.apply_patch(config, [operation])


def _at(config: Any, path: str) -> Any:
    try:
        return resolve_pointer(config, path)
    except (JsonPointerException, TypeError):
        return _MISSING


def _text(value: Any) -> str:
    return harmless(json.dumps(value, ensure_ascii=False))
