"""The record to an OpenTelemetry collector, by OpenTelemetry's own exporters for OTLP over HTTP.

A call is a span, as `hookctl trace export --format otlp` has it, and a log record in that span: a denial is a warning,
a failure an error. The position is kept after each batch that the collector took; what it did not take is sent again.
Retries, headers, certificates and compression are the exporters' own, by the variables OTEL_EXPORTER_OTLP_*.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from hookrun.runtime.errors import Failure
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import files, record_position
from hookrun.wrapper.admin.record_position import Position
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.admin.trace.export import as_otlp as export_otlp
from hookrun.wrapper.admin.trace.store import Names, Store
from hookrun.wrapper.record.line import Line

# Its words for a collector that is gone are Python's.
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
logging.getLogger("opentelemetry").propagate = False

_BATCH = 512  # calls
_SCOPE = InstrumentationScope("hookrun.record", VERSION)
_SEVERITIES = {"ok": SeverityNumber.INFO, "denied": SeverityNumber.WARN, "failed": SeverityNumber.ERROR}


def push(directory: Path, kept: Path, endpoint: str) -> int:
    """Send what a record has that was not sent before; returns how many calls. Raises Failure.

    `kept` is the file with the position, `endpoint` the collector's base URL, as http://127.0.0.1:4318.
    """
    resource = Resource(export_otlp.resource_facts())
    spans = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
    logs = OTLPLogExporter(f"{endpoint.rstrip('/')}/v1/logs")
    position = _position(kept)
    sent = 0
    try:
        names = Names(Store(directory))
        calls = (names.on(call) for call in position.new_calls(directory))
        while batch := list(itertools.islice(calls, _BATCH)):
            _send(spans, logs, batch, resource, endpoint)
            files.replace(kept, json.dumps({"ends": position.ends}), 0o600)
            sent += len(batch)
    finally:
        spans.shutdown()
        logs.shutdown()
    return sent


def _position(kept: Path) -> Position:
    try:
        return record_position.unpacked(record_position.read(kept).get("ends", {}))
    except (TypeError, ValueError, AttributeError):
        return Position()


def _send(spans: OTLPSpanExporter, logs: OTLPLogExporter, batch: list[Line], resource: Resource, endpoint: str) -> None:
    made = [span for call in batch for span in (_span(call, resource), *_phases(call, resource))]
    if (
        spans.export(made) is not SpanExportResult.SUCCESS
        or logs.export([_log(call, resource) for call in batch]) is not LogRecordExportResult.SUCCESS
    ):
        raise Failure(f"the collector at {endpoint} did not take the record; what is missing is sent the next time")


def _context(call: Line, span: str = "") -> SpanContext:
    """That of a call's own span, or of another one in its trace."""
    trace, own = export_otlp.ids(call)
    return SpanContext(
        int(trace, 16), int(span or own, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )


def _span(call: Line, resource: Resource) -> ReadableSpan:
    start, end = export_otlp.times(call)
    is_good = trace_index.result(call) == "ok"
    return ReadableSpan(
        call["command"],
        _context(call),
        resource=resource,
        attributes=_attributes(call),
        kind=SpanKind.SERVER,
        instrumentation_scope=_SCOPE,
        status=Status() if is_good else Status(StatusCode.ERROR, _said(call)),
        start_time=start,
        end_time=end,
    )


def _phases(call: Line, resource: Resource) -> Iterator[ReadableSpan]:
    for name, span, start, end in export_otlp.phases(call):
        yield ReadableSpan(
            name,
            _context(call, span),
            _context(call),
            resource,
            kind=SpanKind.INTERNAL,
            instrumentation_scope=_SCOPE,
            start_time=start,
            end_time=end,
        )


def _log(call: Line, resource: Resource) -> ReadableLogRecord:
    severity = _SEVERITIES[trace_index.result(call)]
    record = LogRecord(
        timestamp=export_otlp.times(call)[0],
        context=set_span_in_context(NonRecordingSpan(_context(call))),
        severity_number=severity,
        severity_text=severity.name,
        body=f"{call['command']} {call['container']}".rstrip() + (f": {_said(call)}" if severity.value > 9 else ""),
        attributes=_attributes(call),
    )
    return ReadableLogRecord(record, resource, _SCOPE)


def _said(call: Line) -> str:
    return export_otlp.valid(call["error"] or f"exit status {call['status']}")


def _attributes(call: Line) -> dict[str, Any]:
    return {name: _plain(value) for name, value in export_otlp.facts(call).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return export_otlp.valid(value) if isinstance(value, str) else value
