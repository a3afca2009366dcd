"""The record as OTLP/JSON spans, which an OpenTelemetry collector takes.

A container is a trace, a call a span in it, a phase a span in the call. Ids are hexadecimal and 64-bit numbers strings,
as OTLP's own JSON encoding has them. Source: OpenTelemetry protocol specification, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import export_host, trace_index
from hookrun.wrapper.admin.trace_index import Effect

_SPAN_INTERNAL = 1
_SPAN_SERVER = 2
_STATUS_ERROR = 2
_MILLISECOND = 1_000_000


def render(calls: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The JSON text in pieces."""
    facts = {"service.name": "hookrun", "service.version": VERSION, **export_host.identity()}
    resource = {"attributes": [_attribute(name, value) for name, value in facts.items() if value]}
    scope = {"name": "hookrun.record", "version": VERSION}
    yield f'{{"resourceSpans":[{{"resource":{json.dumps(resource)},'
    yield f'"scopeSpans":[{{"scope":{json.dumps(scope)},"spans":['
    separator = ""
    for call in calls:
        for span in _spans(call):
            yield separator + json.dumps(span)
            separator = ",\n"
    yield "]}]}]}\n"


def _spans(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    start = _nanoseconds(call["time"])
    end = start + round(call["milliseconds"] * _MILLISECOND)
    ids = {"traceId": _hash(call["container"] or call["id"], 32), "spanId": _hash(call["id"], 16)}
    span = {**ids, "name": call["command"], "kind": _SPAN_SERVER, **_times(start, end), "attributes": _attributes(call)}
    if trace_index.result(call) != "ok":
        span["status"] = {"code": _STATUS_ERROR, "message": call["error"] or f"exit status {call['status']}"}
    yield span
    for number, (name, milliseconds) in enumerate(call["phases"]):
        until = min(end, start + round(milliseconds * _MILLISECOND))
        yield {
            "traceId": ids["traceId"],
            "spanId": _hash(f"{call['id']}/{number}", 16),
            "parentSpanId": ids["spanId"],
            "name": name,
            "kind": _SPAN_INTERNAL,
            **_times(start, until),
        }
        start = until


def _attributes(call: dict[str, Any]) -> list[dict[str, Any]]:
    """Named by OpenTelemetry's semantic conventions where they have a name."""
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
    return [_attribute(name, value) for name, value in values.items() if value not in ("", None, [])]


def _policies(call: dict[str, Any], effect: Effect) -> list[str]:
    return [one["policy"] for one in call["decisions"] if trace_index.effect_of(one) is effect]


def _attribute(name: str, value: str | int | list[str]) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: str | int | list[str]) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(entry) for entry in value]}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    # Bytes that are not UTF-8 can't be in a protobuf string.
    return {"stringValue": value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")}


def _times(start: int, end: int) -> dict[str, str]:
    return {"startTimeUnixNano": str(start), "endTimeUnixNano": str(end)}


def _nanoseconds(time: str) -> int:
    """Exact: a float has no room for nanoseconds since 1970."""
    moment = datetime.fromisoformat(time).astimezone(UTC)
    return (int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond) * 1000


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
