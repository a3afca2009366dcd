"""The record as Chrome trace events, which Perfetto and chrome://tracing open.

Each container is a process; each call is a complete event on a thread of its own pid, its phases nested in it, for
events of one thread may nest but not overlap. Source: "Trace Event Format" of the catapult project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import seconds_of
from hookrun.wrapper.record.line import Line

_HOST = "(no container)"


def render(selection: Selection) -> Iterator[str]:
    """The JSON text in pieces."""
    numbers: dict[str, int] = {}
    yield '{"displayTimeUnit":"ms","traceEvents":['
    separator = ""
    for call in selection.calls():
        container = " ".join(filter(None, (call["name"], call["container"]))) or _HOST
        if container not in numbers:
            numbers[container] = len(numbers) + 1
            yield separator + json.dumps(_name(numbers[container], container))
            separator = ",\n"
        for event in _events(call, numbers[container]):
            yield separator + json.dumps(event)
    yield "]}\n"


def _name(number: int, container: str) -> dict[str, Any]:
    return {"name": "process_name", "ph": "M", "ts": 0, "pid": number, "tid": 0, "args": {"name": container}}


def _events(call: Line, number: int) -> Iterator[dict[str, Any]]:
    """Times in microseconds, as the format wants them."""
    start = round(seconds_of(call["time"]) * 1_000_000)
    end = start + max(1, round(call["milliseconds"] * 1000))
    arguments = {name: call[name] for name in ("id", "engine", "argv", "status", "error")}
    yield _event(call["command"], "call", start, end, call, number) | {"args": arguments}
    for name, milliseconds in call["phases"]:
        until = min(end, start + round(milliseconds * 1000))
        yield _event(name, "phase", start, until, call, number)
        start = until


def _event(name: str, category: str, start: int, end: int, call: Line, number: int) -> dict[str, Any]:
    times = {"ts": start, "dur": end - start}
    return {"name": name or "none", "cat": category, "ph": "X", **times, "pid": number, "tid": call["pid"]}
