"""A config in the making: what is changed is copied first, along the path to it; all else is the original's."""

from __future__ import annotations

from typing import Any

from hookrun.policies import pointer
from hookrun.policies.pointer import Fault


class Draft:
    """`root` is the value as changed so far. The value it was made of stays as it was.

    `invocation` is what is known of the call, see `match.View`.
    """

    __slots__ = ("_ours", "invocation", "root")

    def __init__(self, root: Any, invocation: dict[str, Any]) -> None:
        self.root = root
        self.invocation = invocation
        self._ours: dict[int, Any] = {}

    def own(self, tokens: tuple[str, ...]) -> Any:
        """The object or list at a pointer, free to be changed. Raises Fault if there is none."""
        node = self.root = self._mine(self.root)
        for token in tokens:
            child = self._mine(pointer.step(node, token))
            node[token if isinstance(node, dict) else int(token)] = child
            node = child
        return node

    def object(self, *names: str) -> dict[str, Any]:
        """The object at a path of names, free to be changed; made where there is none. Raises Fault."""
        node = self.own(())
        for name in names:
            child = self._mine(node[name]) if node.get(name) is not None else self._mine({})
            if not isinstance(child, dict):
                raise Fault(f"/{'/'.join(names)}: {name!r} must be an object")
            node[name] = child
            node = child
        found: dict[str, Any] = node
        return found

    def list(self, *names: str) -> list[Any]:
        """The list at a path of names, free to be changed; made where there is none. Raises Fault."""
        parent = self.object(*names[:-1])
        found = parent.get(names[-1])
        found = self._mine(found if found is not None else [])
        if not isinstance(found, list):
            raise Fault(f"/{'/'.join(names)} must be a list")
        parent[names[-1]] = found
        return found

    def share(self) -> None:
        """Say that some part is in two places now: whatever is changed from here on is copied anew."""
        self._ours = {}

    def _mine(self, value: Any) -> Any:
        if id(value) in self._ours:
            return value
        if not isinstance(value, dict | list):
            raise Fault("it is neither an object nor a list")
        twin = value.copy()
        self._ours[id(twin)] = twin
        return twin
