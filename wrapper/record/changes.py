"""What changed between two JSON values, as an RFC 6902 patch."""

from __future__ import annotations

from typing import Any

from hookrun.wrapper.record.line import Operation


def between(before: Any, after: Any, path: str = "") -> list[Operation]:
    """The operations that make `after` of `before`: `add`, `remove` and `replace`, in an order that applies."""
    if isinstance(before, dict) and isinstance(after, dict):
        return _in_objects(before, after, path)
    if isinstance(before, list) and isinstance(after, list):
        return _in_lists(before, after, path)
    return [] if _same(before, after) else [{"op": "replace", "path": path, "value": after}]


def _same(before: Any, after: Any) -> bool:
    """Python holds 1, 1.0 and True for equal; JSON does not."""
    return type(before) is type(after) and bool(before == after)


def _in_objects(before: dict[str, Any], after: dict[str, Any], path: str) -> list[Operation]:
    found: list[Operation] = []
    for name, value in before.items():
        place = f"{path}/{_token(name)}"
        found += between(value, after[name], place) if name in after else [{"op": "remove", "path": place}]
    for name, value in after.items():
        if name not in before:
            found.append({"op": "add", "path": f"{path}/{_token(name)}", "value": value})
    return found


def _in_lists(before: list[Any], after: list[Any], path: str) -> list[Operation]:
    """Elements before and after the part that differs stay; what lies between is compared one by one."""
    start = 0
    shorter = min(len(before), len(after))
    while start < shorter and not between(before[start], after[start]):
        start += 1
    tail = 0
    while tail < shorter - start and not between(before[-1 - tail], after[-1 - tail]):
        tail += 1
    old = before[start : len(before) - tail]
    new = after[start : len(after) - tail]
    found: list[Operation] = []
    for offset, (one, other) in enumerate(zip(old, new, strict=False)):
        found += between(one, other, f"{path}/{start + offset}")
    for offset in range(len(new), len(old)):
        found.append({"op": "remove", "path": f"{path}/{start + len(old) + len(new) - 1 - offset}"})
    for offset in range(len(old), len(new)):
        found.append({"op": "add", "path": f"{path}/{start + offset}", "value": new[offset]})
    return found


def _token(name: str) -> str:
    """A member's name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
