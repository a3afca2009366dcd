"""What is hardly meant in the exceptions of a policy, and which of them are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from hookrun.policies import exceptions, match, testing, validation
from hookrun.policies.compiler import Source
from hookrun.policies.document import Node
from hookrun.policies.exceptions import Exemption
from hookrun.policies.policy import Policy

_DAY = 86400
_SOON = 14 * _DAY
_CLAIMED = ("label", "labelLike", "annotation", "annotationLike")


def checks(source: Source) -> Iterator[Callable[[], object]]:
    """Every check on a policy's exceptions; each raises Invalid for what it finds."""
    spec = source.document.members()["spec"].members()
    for node, one in zip(_nodes(spec), source.policy.exceptions, strict=True):
        yield partial(_check_end, node, one)
        yield partial(_check_width, source.policy, spec, node, one)


def _nodes(spec: dict[str, Node]) -> list[Node]:
    return spec["exceptions"].elements() if "exceptions" in spec else []


def _check_end(node: Node, one: Exemption) -> None:
    if exceptions.has_ended(one, None):
        node.members()["until"].fail(f"the exception ended, {one[3]}: it has no effect any more, take it out")


def _check_width(policy: Policy, spec: dict[str, Node], node: Node, one: Exemption) -> None:
    """Refuse an exception that leaves nothing of its policy."""
    place = node.members()["match"]
    if "match" in spec and place.value == spec["match"].value:
        place.fail("it is for every call that the policy is for: use `mode: off`, or say less")
    views = [
        match.View(sample, testing.invocation({"engine": engine})) for engine, sample in validation.samples().items()
    ]
    meant = [view for view in views if match.is_for(policy, view)]
    if meant and all(match.holds(one[0], view) for view in meant):
        place.fail("it is for every sample that the policy is for: it leaves nothing of the policy, say less")


def notes(source: Source) -> list[str]:
    """Lines on exceptions that are as they may be, and better known."""
    found = []
    spec = source.document.members()["spec"].members()
    for node, one in zip(_nodes(spec), source.policy.exceptions, strict=True):
        place = f"{node.file}:{node.line}:{node.column}: policy {source.name}: the exception"
        found += [f"{place} {text}" for text in (_end_note(one), _claim_note(one)) if text]
    return found


def _end_note(one: Exemption) -> str:
    if one[2] is None:
        return "has no end: add `until`, so that somebody looks at it again"
    left = one[2] - time.time()
    days = int(left // _DAY) + 1
    return f"ends in {days} day{'s' if days > 1 else ''}, {one[3]}" if 0 < left <= _SOON else ""


def _claim_note(one: Exemption) -> str:
    """A label is what whoever starts a container says."""
    subjects = match.subjects(one[0])
    if subjects and all(subject[0] in _CLAIMED for subject in subjects):
        return "asks for nothing but labels or annotations: whoever starts a container can claim them"
    return ""


def ended(source: Source) -> list[str]:
    """Lines on exceptions that are over."""
    one = source.policy
    return [
        f"{one.file}:{exception[4]}:1: policy {one.name}: {exceptions.told_end(exception)}"
        for exception in one.exceptions
        if exceptions.has_ended(exception, None)
    ]


def summary(one: Policy) -> str:
    """The numbers of a policy's exceptions, for a table: `2, 1 ended`."""
    over = sum(1 for exception in one.exceptions if exceptions.has_ended(exception, None))
    return f"{len(one.exceptions)}{f', {over} ended' if over else ''}" if one.exceptions else "-"
