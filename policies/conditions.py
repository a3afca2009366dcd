"""The operators of conditions: whether one value fits an operand.

Regular expressions come compiled: (pattern, flags, code as bytes, groups, groupindex, indexgroup), what `re` would give
to the interpreter's engine `_sre`; `import re` itself would cost more than a whole decision. The code belongs to one
version of Python, as the whole snapshot does.
"""

from __future__ import annotations

import _sre
import re
from collections.abc import Callable
from typing import Any

from hookrun.policies.pointer import ABSENT, same

Test = tuple[str, Any]

NOT = "not"

_patterns: dict[tuple[Any, ...], re.Pattern[str]] = {}


def fits(value: Any, tests: tuple[Test, ...]) -> bool:
    """Whether a value passes all tests, each an operator and its operand; a `sources.Source` knows better itself."""
    own = getattr(value, "fits", None)
    if own is not None:
        return bool(own(tests))
    for name, operand in tests:
        positive = OPERATORS.get(name)
        if positive is not None:
            if not positive(value, operand):
                return False
        elif NEGATIONS[name](value, operand):
            return False
    return True


def found_in(value: Any, pattern: tuple[Any, ...]) -> bool:
    """Whether a compiled regular expression is found in a value, which is no match if it is no text."""
    return isinstance(value, str) and _ready(pattern).search(value) is not None


def is_all_of(value: str, pattern: tuple[Any, ...]) -> bool:
    """Whether a compiled regular expression fits the whole of a text."""
    return _ready(pattern).fullmatch(value) is not None


def _ready(stored: tuple[Any, ...]) -> re.Pattern[str]:
    pattern = _patterns.get(stored[:2])
    if pattern is None:
        text, flags, code, groups, names, numbers = stored
        words = memoryview(code).cast("I").tolist()
        pattern = _patterns[stored[:2]] = _sre.compile(text, flags, words, groups, dict(names), numbers)
    return pattern


def _equals(value: Any, operand: Any) -> bool:
    return same(value, operand)


def _is_in(value: Any, operand: tuple[Any, ...]) -> bool:
    return value in operand if isinstance(value, str) else any(same(value, one) for one in operand)


def _exists(value: Any, operand: bool) -> bool:
    return (value is not ABSENT) == operand


def _contains(value: Any, operand: Any) -> bool:
    if isinstance(value, str):
        return isinstance(operand, str) and operand in value
    if isinstance(value, list):
        return any(same(one, operand) for one in value)
    return isinstance(value, dict) and operand in value


def _starts_with(value: Any, operand: str) -> bool:
    return isinstance(value, str) and value.startswith(operand)


def _less(value: Any, operand: float) -> bool:
    return _is_number(value) and value < operand


def _greater(value: Any, operand: float) -> bool:
    return _is_number(value) and value > operand


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": _equals,
    "in": _is_in,
    "matches": found_in,
    "exists": _exists,
    "contains": _contains,
    "startsWith": _starts_with,
    "less": _less,
    "greater": _greater,
}
NEGATIONS: dict[str, Callable[[Any, Any], bool]] = {
    NOT + name[0].upper() + name[1:]: function for name, function in OPERATORS.items() if name != "exists"
}
