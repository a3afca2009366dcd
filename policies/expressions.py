"""Regular expressions, compiled for the hot path (see `conditions`)."""

from __future__ import annotations

import re
from array import array
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

from hookrun.policies.document import Node

_SPECIAL = re.compile(r"[\[\](){}^$*+?|\\]")


def compiled(node: Node) -> tuple[Any, ...]:
    """What `_sre.compile` takes for a pattern. Raises Invalid."""
    text = node.text()
    try:
        parsed = _parser.parse(text, 0)
        code = _compiler._code(parsed, 0)
    except (re.error, OverflowError, RecursionError) as error:
        node.fail(f"invalid regular expression: {error}")
    names = parsed.state.groupdict
    numbers: list[str | None] = [None] * parsed.state.groups
    for name, number in names.items():
        numbers[number] = name
    flags = parsed.state.flags
    return (text, flags, array("I", code).tobytes(), parsed.state.groups - 1, tuple(names.items()), tuple(numbers))


def literal(text: str) -> str | None:
    """The only text that a pattern fits as a whole, a bare dot taken for itself; None if it is a real pattern."""
    plain = text.replace("\\.", ".").replace("\\-", "-").replace("\\/", "/")
    return None if _SPECIAL.search(plain) else plain
