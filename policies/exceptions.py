"""Exceptions: calls that a policy leaves alone though it matches them, why, and until when.

An exception is a tuple: (condition, reason, end in seconds since 1970 or None, end as it is written, line).
"""

from __future__ import annotations

import time
from typing import Any

from hookrun.policies import match

Exemption = tuple[Any, ...]


def applying(exceptions: tuple[Exemption, ...], view: match.View) -> tuple[Exemption | None, Exemption | None]:
    """The first exception that holds for a call, and the first that would if it had not ended; None for none."""
    ended = None
    for one in exceptions:
        if not match.holds(one[0], view):
            continue
        if not has_ended(one, view.invocation.get("time")):
            return one, None
        ended = ended or one
    return None, ended


def has_ended(one: Exemption, now: float | None) -> bool:
    """Whether an exception is over; `now` in seconds since 1970, None for this moment."""
    end: int | None = one[2]
    return end is not None and end <= (time.time() if now is None else now)


def told(one: Exemption) -> str:
    """An exception in words."""
    _, reason, end, until, line = one
    return f"exception in line {line}, {f'until {until}' if end is not None else 'without end'}: {reason}"


def told_end(one: Exemption) -> str:
    """That an exception is over, in words."""
    return f"its exception in line {one[4]} ended: {one[3]}"


def noted(one: Exemption, *, ended: bool) -> dict[str, Any]:
    """An exception for the record."""
    return {"line": one[4], "reason": one[1], "until": one[3], "ended": ended}
