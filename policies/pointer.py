"""JSON pointers (RFC 6901) as tuples of their tokens, and looking values up by them."""

from __future__ import annotations

from typing import Any

ANY = "*"


class Fault(Exception):
    """Why a policy cannot be evaluated on this config; what follows is the policy's `onError`."""


def parsed(pointer: str) -> tuple[str, ...]:
    """A pointer's tokens. Raises ValueError for what is no pointer."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"invalid JSON pointer {pointer!r}: it must begin with '/'")
    tokens = pointer[1:].split("/")
    for token in tokens:
        if "~" in token.replace("~0", "").replace("~1", ""):
            raise ValueError(f"invalid JSON pointer {pointer!r}: '~' is written '~0'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


def written(tokens: tuple[str, ...]) -> str:
    """The pointer that has these tokens."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def index(items: list[Any], token: str) -> int:
    """The index that a token names in a list, which may be the one after the last. Raises Fault."""
    if not (token.isascii() and token.isdigit()) or (token[0] == "0" and token != "0"):
        raise Fault(f"{token!r} is not an index of a list")
    number = int(token)
    if number > len(items):
        raise Fault(f"the list has only {len(items)} elements")
    return number


def step(value: Any, token: str) -> Any:
    """The member or element of `value` that a token names. Raises Fault if it is not there."""
    if isinstance(value, dict):
        if token in value:
            return value[token]
        raise Fault(f"there is no {token!r}")
    if isinstance(value, list):
        number = index(value, token)
        if number < len(value):
            return value[number]
        raise Fault(f"the list has only {len(value)} elements")
    raise Fault(f"{token!r} is looked up in what is neither an object nor a list")


def get(value: Any, tokens: tuple[str, ...]) -> Any:
    """The value at a pointer. Raises Fault if it is not there."""
    for token in tokens:
        value = step(value, token)
    return value


def part(value: Any, *names: str) -> Any:
    """What lies at a path of names; None where nothing does."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


class _Absent:
    """Stands for a value that is not there."""

    __slots__ = ()


ABSENT = _Absent()


def reach(value: Any, tokens: tuple[str, ...]) -> list[Any]:
    """All values that a path leads to; the token `*` is every element of a list or an object.

    A name that is not there gives ABSENT, once for each place where it was looked for; `*` of nothing gives nothing.
    """
    found = [value]
    for token in tokens:
        if token == ANY:
            found = [element for one in found for element in _elements(one)]
        else:
            found = [_step_or_absent(one, token) for one in found]
    return found


def _elements(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def _step_or_absent(value: Any, token: str) -> Any:
    if isinstance(value, dict):
        return value.get(token, ABSENT)
    try:
        return step(value, token)
    except Fault:
        return ABSENT


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: as Python's, but a boolean equals no number. Cheap where both share their parts."""
    if one is other:
        return True
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and len(one) == len(other)
            and all(name in other and same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return bool(one == other)
