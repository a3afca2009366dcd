"""Why a policy matched or did not, in words: each condition with what it looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hookrun.policies import conditions, match, messages, pointer
from hookrun.policies.exceptions import has_ended, told
from hookrun.policies.match import Condition, View
from hookrun.policies.policy import Policy

_SHOWN = 4
_WIDTH = 60


def matching(one: Policy, view: View) -> list[str]:
    """The lines on a policy's `match`."""
    if one.skips_updates and view.invocation["command"] == "update":
        return ["✗ it says nothing about /linux/resources, which an update is judged by"]
    if one.match is None:
        return ["✓ it is for every call"]
    return list(tree(one.match, view))


def exceptions(one: Policy, view: View) -> list[str]:
    """The lines on a policy's exceptions."""
    lines = []
    for exception in one.exceptions:
        ended = ", which is over" if has_ended(exception, view.invocation.get("time")) else ""
        lines.append(f"{told(exception)}{ended}:")
        lines += [f"  {line}" for line in tree(exception[0], view)]
    return lines


def denials(one: Policy, view: View) -> list[str]:
    """The lines on a policy's `deny`."""
    lines = []
    for condition, message in one.denials:
        lines.append(f"deny, {messages.source(message)!r}:")
        lines += [f"  {line}" for line in (tree(condition, view) if condition else ["✓ always"])]
    return lines


def tree(condition: Condition, view: View, indent: str = "") -> Iterator[str]:
    """One line for each part of a condition, with a mark whether it holds."""
    mark = "✓" if match.holds(condition, view) else "✗"
    if condition[0] == "is":
        subject, tests = condition[1:]
        yield f"{indent}{mark} {subject_text(subject)} {' and '.join(map(test_text, tests))}: {_values(view, subject)}"
        return
    yield f"{indent}{mark} {condition[0]} of"
    for part in condition[1]:
        yield from tree(part, view, indent + "  ")


def subject_text(subject: tuple[Any, ...]) -> str:
    kind = subject[0]
    if kind == "field":
        return pointer.written(subject[1:])
    if kind.endswith("Like"):
        return f"{kind.removesuffix('Like')} {subject[1][0]}"
    return " ".join(subject)


def test_text(test: tuple[str, Any]) -> str:
    name, operand = test
    if name in ("matches", conditions.NOT + "Matches"):
        return f"{name} {operand[0]}"
    return f"{name} {_short(str(list(operand)) if isinstance(operand, tuple) else repr(operand))}"


def _values(view: View, subject: tuple[Any, ...]) -> str:
    values = view.values(subject)
    if not values:
        return "there are none"
    texts = ["absent" if value is pointer.ABSENT else _short(repr(value)) for value in values[:_SHOWN]]
    more = len(values) - _SHOWN
    return "it is " + ", ".join(texts) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
