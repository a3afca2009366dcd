"""The record as OTLP/JSON spans, which an OpenTelemetry collector takes.

A container is a trace, a call a span in it, a phase a span in the call. Ids are hexadecimal and 64-bit numbers strings,
as OTLP's own JSON encoding has them. Source: OpenTelemetry protocol specification, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hookrun.wrapper import VERSION
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.admin.trace.export import host as export_host
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import Effect
from hookrun.wrapper.record.line import Line

_SPAN_INTERNAL = 1
_SPAN_SERVER = 2
_STATUS_ERROR = 2
_MILLISECOND = 1_000_000


def render(selection: Selection) -> Iterator[str]:
    """The JSON text in pieces."""
    resource = {"attributes": [_attribute(name, value) for name, value in resource_facts().items()]}
    scope = {"name": "hookrun.record", "version": VERSION}
    yield f'{{"resourceSpans":[{{"resource":{json.dumps(resource)},'
    yield f'"scopeSpans":[{{"scope":{json.dumps(scope)},"spans":['
    separator = ""
    for call in selection.calls():
        for span in _spans(call):
            yield separator + json.dumps(span)
            separator = ",\n"
    yield "]}]}]}\n"


def ids(call: Line) -> tuple[str, str]:
    """Trace and span of a call, the same at each export: what is sent twice is known again."""
    return _hash(call["container"] or call["id"], 32), _hash(call["id"], 16)


def times(call: Line) -> tuple[int, int]:
    """Begin and end of a call in nanoseconds since 1970."""
    start = nanoseconds(call["time"])
    return start, start + round(call["milliseconds"] * _MILLISECOND)


def _spans(call: Line) -> Iterator[dict[str, Any]]:
    start, end = times(call)
    trace, own = ids(call)
    span = {
        "traceId": trace,
        "spanId": own,
        "name": call["command"],
        "kind": _SPAN_SERVER,
        **_times(start, end),
        "attributes": _attributes(call),
    }
    if trace_index.result(call) != "ok":
        span["status"] = {"code": _STATUS_ERROR, "message": call["error"] or f"exit status {call['status']}"}
    yield span
    for name, span_id, begin, until in phases(call):
        yield {
            "traceId": trace,
            "spanId": span_id,
            "parentSpanId": own,
            "name": name,
            "kind": _SPAN_INTERNAL,
            **_times(begin, until),
        }


def phases(call: Line) -> Iterator[tuple[str, str, int, int]]:
    """A call's phases: name, span, begin and end as `times` has them."""
    start, end = times(call)
    for number, (name, milliseconds) in enumerate(call["phases"]):
        until = min(end, start + round(milliseconds * _MILLISECOND))
        yield name, _hash(f"{call['id']}/{number}", 16), start, until
        start = until


def resource_facts() -> dict[str, str]:
    """Which hookrun on which host."""
    facts = {"service.name": "hookrun", "service.version": VERSION, **export_host.identity()}
    return {name: value for name, value in facts.items() if value}


def _attributes(call: Line) -> list[dict[str, Any]]:
    return [_attribute(name, value) for name, value in facts(call).items()]


def facts(call: Line) -> dict[str, Any]:
    """What is told of a call, named by OpenTelemetry's semantic conventions where they have a name."""
    ended = trace_index.result(call)
    values = {
        "container.id": call["container"],
        "container.name": call["name"],
        "container.runtime.name": call["engine"],
        "process.pid": call["pid"],
        "process.parent_pid": call["caller"]["pid"],
        "process.command_args": call["argv"],
        "process.exit.code": call["status"],
        "error.type": "" if ended == "ok" else ended,
        "hookrun.call.id": call["id"],
        "hookrun.result": ended,
        "hookrun.profile": call["profile"],
        "hookrun.policies": [decision["policy"] for decision in call["decisions"]],
        "hookrun.policies.denied": _policies(call, Effect.denied),
        "hookrun.policies.audited": _policies(call, Effect.would_deny),
    }
    return {name: value for name, value in values.items() if value not in ("", None, [])}


def _policies(call: Line, effect: Effect) -> list[str]:
    return [one["policy"] for one in call["decisions"] if trace_index.effect_of(one) is effect]


def _attribute(name: str, value: str | int | list[str]) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: str | int | list[str]) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(entry) for entry in value]}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    # Bytes that are not UTF-8 can't be in a protobuf string.
    return {"stringValue": valid(value)}


def valid(text: str) -> str:
    """A text of the record with replacements for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _times(start: int, end: int) -> dict[str, str]:
    return {"startTimeUnixNano": str(start), "endTimeUnixNano": str(end)}


def nanoseconds(time: str) -> int:
    """Exact: a float has no room for nanoseconds since 1970."""
    moment = datetime.fromisoformat(time).astimezone(UTC)
    return (int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond) * 1000


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
