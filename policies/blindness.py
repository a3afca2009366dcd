"""Which rules on sources miss directories: `matches` and `contains` look at names, and a directory above has another.

For `hookctl policy lint`. Of an expression, examples are looked at: each of its branches, and each repetition once.
"""

from __future__ import annotations

import re
from itertools import product
from re import _constants as signs  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from hookrun.policies.sources import is_path, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookrun.policies.compiler import Source
    from hookrun.policies.conditions import Test
    from hookrun.policies.policy import Policy

_MOST = 256
_CLASSES = {signs.CATEGORY_DIGIT: "0", signs.CATEGORY_WORD: "a", signs.CATEGORY_SPACE: " "}
_SELECTING = ("mounts.forbid", "mounts.readOnly")


def missed(source: Source) -> list[str]:
    """Lines on the rules of a policy that do not see a directory above what they mean."""
    tests = list(_tests(source.policy))
    named = [plain(path) for name, operand in tests if name in ("equals", "in") for path in _paths(operand)]
    patterns = [re.compile(operand[0], operand[1]) for name, operand in tests if name == "matches"]
    place = f"{source.policy.file}:{source.policy.line}:1: policy {source.name}"
    advice = "name the directories, or files in them, by `equals` or `in` beside it"
    found = [
        f"{place}: a source that contains {operand!r} is not seen behind the directories above it: {advice}"
        for name, operand in tests
        if name == "contains"
    ]
    for pattern in patterns:
        directory = _unseen(pattern, patterns, named)
        if directory:
            found.append(
                f"{place}: {pattern.pattern} does not see a mount of {directory}, which shows what it means: {advice}"
            )
    return found


def _tests(one: Policy) -> Iterator[Test]:
    """What the policy asks of sources where it forbids or selects."""
    for name, argument in (*one.checks, *one.changes):
        if name in _SELECTING:
            for rule in argument:
                yield from _of_selector(rule[0] if name == "mounts.forbid" else rule)
    for condition, _ in one.denials:
        yield from _of_condition(condition)


def _of_selector(selector: tuple[Any, ...]) -> Iterator[Test]:
    for name, tests in selector:
        if name == "source":
            yield from tests


def _of_condition(condition: tuple[Any, ...] | None) -> Iterator[Test]:
    if condition is None or condition[0] == "none":
        return
    if condition[0] == "mount":
        yield from _of_selector(condition[1])
    elif condition[0] == "is":
        if condition[1] == ("field", "mounts", "*", "source"):
            yield from condition[2]
    else:
        for part in condition[1]:
            yield from _of_condition(part)


def _paths(operand: Any) -> list[str]:
    return [path for path in (operand if isinstance(operand, tuple) else (operand,)) if is_path(path)]


def _unseen(pattern: re.Pattern[str], patterns: list[re.Pattern[str]], named: list[str]) -> str:
    """A directory above an example that none of the policy's rules sees, "" where there is none."""
    for example in _examples(pattern):
        directory = plain(example)
        while directory != "/":
            directory = directory.rpartition("/")[0] or "/"
            is_named = any(f"{path}/".startswith(f"{directory.rstrip('/')}/") for path in named)
            if not is_named and not any(other.search(directory) for other in patterns):
                return directory
    return ""


def _examples(pattern: re.Pattern[str]) -> list[str]:
    """Absolute paths that an expression fits."""
    texts = _texts(_parser.parse(pattern.pattern, pattern.flags))
    found = (text if text.startswith("/") else f"/directory/{text}" for text in texts)
    return [text for text in found if pattern.search(text)]


def _texts(parsed: Any) -> list[str]:
    parts = [_of_one(sign, value) for sign, value in parsed]
    return ["".join(chosen) for chosen, _ in zip(product(*parts), range(_MOST), strict=False)]


def _of_one(sign: Any, value: Any) -> list[str]:
    if sign is signs.LITERAL:
        return [chr(value)]
    if sign is signs.BRANCH:
        return [text for branch in value[1] for text in _texts(branch)]
    if sign is signs.SUBPATTERN:
        return _texts(value[-1])
    if sign in (signs.MAX_REPEAT, signs.MIN_REPEAT, signs.POSSESSIVE_REPEAT):
        least, most, what = value
        once = [text * max(least, 1) for text in _texts(what)] if most else [""]
        return once if least else ["", *once]
    if sign is signs.IN:
        return [_of_class(value)]
    return ["a"] if sign in (signs.ANY, signs.NOT_LITERAL) else [""]


def _of_class(parts: list[tuple[Any, Any]]) -> str:
    """A letter of a class; of all but some, a usual one."""
    sign, value = parts[0]
    if sign is signs.LITERAL:
        return chr(value)
    if sign is signs.RANGE:
        return chr(value[0])
    return _CLASSES.get(value, "a") if sign is signs.CATEGORY else "a"
