"""`exceptions` as people write them, made into those that `exceptions` judges by."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hookrun.policies import reader
from hookrun.policies.document import Node
from hookrun.policies.exceptions import Exemption

_MEMBERS = ("match", "reason", "until")
_DAY = 86400
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[Tt ]\d\d:\d\d(:\d\d)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


def read(node: Node) -> tuple[Exemption, ...]:
    """The exceptions of a policy. Raises Invalid."""
    return tuple(_exception(one) for one in node.elements())


def _exception(node: Node) -> Exemption:
    members = node.members(_MEMBERS)
    for name, question in (("match", "which calls is it for?"), ("reason", "why is it made?")):
        if name not in members:
            node.fail(f"{name} is missing: {question}")
    reason = " ".join(members["reason"].text().split())
    if not reason:
        members["reason"].fail("it is empty: why is the exception made?")
    end = _end(members["until"]) if "until" in members else None
    until = members["until"].text() if "until" in members else ""
    return (reader.condition(members["match"]), reason, end, until, node.line)


def _end(node: Node) -> int:
    """When an exception is over, in seconds since 1970: a day counts to its end."""
    return moment(node) + (_DAY if _DATE.fullmatch(node.text()) else 0)


def moment(node: Node) -> int:
    """Seconds since 1970 of a moment, or of the beginning of a day, in UTC (RFC 3339). Raises Invalid."""
    text = node.text()
    found = _MOMENT.fullmatch(text)
    if not found:
        node.fail(f"invalid date {text!r}: write 2027-01-31, or 2027-01-31T18:00:00+01:00")
    if found["time"] and not found["zone"]:
        node.fail("it has no time zone: end it with Z (UTC), or with an offset like +01:00")
    try:
        parsed = datetime.fromisoformat(text.upper())
    except ValueError:
        node.fail(f"there is no {text}: that month, day or hour does not exist")
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
