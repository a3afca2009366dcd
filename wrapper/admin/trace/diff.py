"""What changed about a config, field by field, or in brief: `hookctl trace diff`."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException, resolve_pointer

from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.record.line import Operation

ADDED = "+"
REMOVED = "-"
LARGE = "~"
_MISSING = object()
_WORDS = {"add": "added", "remove": "removed", "replace": "replaced"}
_MANY = 8  # operations in one place, from which on they are a large change
_LONG = 200  # characters of a value, the same
_DEPTH = 2  # names of a pointer that make a place: /linux/seccomp

Patch = list[Operation]


def by_field(before: Any, patch: Patch, *, full: bool = True) -> Iterator[tuple[str, str, str]]:
    """(sign, JSON pointer, value as JSON text) of each value that went or came, in the patch's order.

    `before` is None where the config from before is lost; what a field held is then not told. Without `full`, a large
    change is (LARGE, pointer to it, what happened to it in a word).
    """
    brief = {} if full else large(patch, before)
    told = set()
    config = copy.deepcopy(before)
    for operation in copy.deepcopy(patch):  # what is put into the config may be changed by what follows
        where = place(operation["path"])
        if where not in brief:
            yield from _values(config, operation)
        elif where not in told:
            told.add(where)
            yield (LARGE, *brief[where])
        if config is not None:
            config = jsonpatch.apply_patch(config, [operation], in_place=True)


def line(sign: str, path: str, value: str) -> str:
    """What `by_field` gives, in a line."""
    return f"{sign} {path}{'' if sign == LARGE else ':'} {value}"


def in_brief(patch: Patch) -> list[str]:
    """A line for each place that a patch changes, without values: "/linux/seccomp replaced (312 changes)"."""
    brief = large(patch)
    lines = []
    for operation in patch:
        where = place(operation["path"])
        lines.append(" ".join(brief[where]) if where in brief else f"{operation['path']} {_WORDS[operation['op']]}")
    return list(dict.fromkeys(lines))


def large(patch: Patch, before: Any = None) -> dict[str, tuple[str, str]]:
    """The places with too much to show; for each the pointer to name, and what happened there in a word."""
    places: dict[str, Patch] = {}
    for operation in patch:
        places.setdefault(place(operation["path"]), []).append(operation)
    return {
        where: _summary(where, found)
        for where, found in places.items()
        if len(found) >= _MANY or any(_is_long(operation, before) for operation in found)
    }


def _summary(where: str, operations: Patch) -> tuple[str, str]:
    if len(operations) == 1:
        return operations[0]["path"], _WORDS[operations[0]["op"]]
    return where, f"replaced ({len(operations)} changes)"


def _is_long(operation: Operation, before: Any) -> bool:
    values = [operation.get("value"), None if operation["op"] == "add" else _at(before, operation["path"])]
    return any(len(_text(value)) > _LONG for value in values if value is not _MISSING)


def place(path: str) -> str:
    """The part of a config that a pointer leads into: "/linux/seccomp"."""
    return "/".join(path.split("/")[: _DEPTH + 1])


def _values(config: Any, operation: Operation) -> Iterator[tuple[str, str, str]]:
    path = operation["path"]
    if operation["op"] != "add":
        old = _at(config, path)
        yield REMOVED, path, "?" if old is _MISSING else _text(old)
    if operation["op"] != "remove":
        yield ADDED, path, _text(operation["value"])


def _at(config: Any, path: str) -> Any:
    try:
        return resolve_pointer(config, path)
    except (JsonPointerException, TypeError):
        return _MISSING


def _text(value: Any) -> str:
    return harmless(json.dumps(value, ensure_ascii=False))
