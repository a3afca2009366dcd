"""The life of one container: `hookctl trace timeline`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hookrun.wrapper.admin.trace.index import seconds_of
from hookrun.wrapper.record.line import Line

_WIDTH = 40


@dataclass(frozen=True)
class Step:
    """A call on its container's time line; times in milliseconds.

    `start` counts from the first call, `gap` from the end of all calls before (0 where they overlap).
    """

    call: Line
    start: float
    gap: float
    waited: float

    def as_dict(self) -> dict[str, Any]:
        call = self.call
        told = {
            "id": call["id"],
            "time": call["time"],
            "command": call["command"],
            "status": call["status"],
            "error": call["error"],
        }
        return {**told, "start": self.start, "gap": self.gap, "waited": self.waited}


def steps(calls: list[Line]) -> Iterator[Step]:
    """The calls of a container, the oldest first, with the times between them."""
    first = end = None
    for call in calls:
        start = seconds_of(call["time"]) * 1000
        first = start if first is None else first
        gap = 0.0 if end is None else max(0.0, start - end)
        end = max(end or 0.0, start + call["milliseconds"])
        yield Step(call, round(start - first, 3), round(gap, 3), call["milliseconds"])


def bar(step: Step, total: float) -> str:
    """The call's place in all of the container's life."""
    scale = _WIDTH / (total or 1)
    before = min(_WIDTH - 1, int(step.start * scale))
    length = max(1, min(_WIDTH - before, round(step.waited * scale)))
    return f"{'·' * before}{'█' * length}{'·' * (_WIDTH - before - length)}"


def summary(found: list[Step]) -> str:
    """How long the engine waited for hookrun, of the time from the first call's start to the last one's end."""
    whole = max((step.start + step.waited for step in found), default=0.0)
    waited = sum(step.waited for step in found)
    return f"{len(found)} calls in {whole / 1000:.3f} s; the engine waited {waited:.1f} ms for them"
