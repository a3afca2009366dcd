"""RFC 6902 on a draft. An operation is a tuple: (op, path, from, value), the pointers as tuples of tokens."""

from __future__ import annotations

from typing import Any

from hookrun.policies import pointer
from hookrun.policies.draft import Draft
from hookrun.policies.pointer import Fault

Path = tuple[str, ...]
Operation = tuple[str, Path, Path, Any]


def apply(draft: Draft, operations: tuple[Operation, ...]) -> None:
    """Apply the operations in order. Raises Fault naming the one that can't be; the draft is spoilt then."""
    for operation in operations:
        name, path, source, _ = operation
        try:
            _FUNCTIONS[name](draft, operation)
        except Fault as fault:
            place = f"{pointer.written(source)} to {pointer.written(path)}" if source else pointer.written(path)
            raise Fault(f"patch: {name} {place}: {fault}") from None


def _add(draft: Draft, operation: Operation) -> None:
    _put(draft, operation[1], operation[3])


def _put(draft: Draft, path: Path, value: Any) -> None:
    if not path:
        draft.root = value
        return
    parent = draft.own(path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        parent.insert(len(parent) if path[-1] == "-" else pointer.index(parent, path[-1]), value)


def _remove(draft: Draft, operation: Operation) -> None:
    _take(draft, operation[1])


def _take(draft: Draft, path: Path) -> Any:
    if not path:
        raise Fault("the whole document can't be removed")
    value = pointer.get(draft.root, path)
    parent = draft.own(path[:-1])
    del parent[path[-1] if isinstance(parent, dict) else int(path[-1])]
    return value


def _replace(draft: Draft, operation: Operation) -> None:
    path = operation[1]
    if not path:
        draft.root = operation[3]
        return
    pointer.get(draft.root, path)
    parent = draft.own(path[:-1])
    parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = operation[3]


def _move(draft: Draft, operation: Operation) -> None:
    _, path, source, _ = operation
    if source != path and path[: len(source)] == source:
        raise Fault("a value can't be moved into itself")
    value = pointer.get(draft.root, source)
    if source != path:
        _put(draft, path, _take(draft, source) if source else value)


def _copy(draft: Draft, operation: Operation) -> None:
    _put(draft, operation[1], pointer.get(draft.root, operation[2]))
    draft.share()


def _test(draft: Draft, operation: Operation) -> None:
    if not pointer.same(pointer.get(draft.root, operation[1]), operation[3]):
        raise Fault("the value is another one")


_FUNCTIONS = {"add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test}
