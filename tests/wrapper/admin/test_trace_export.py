"""`hookctl trace export`: each format against whoever reads it."""

from __future__ import annotations

import base64
import csv
import html.parser
import json
import os
import re
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from tests.support import recorded
from tests.wrapper.admin.test_trace import CREATE, PATCH, Bench, create, made

TracesData = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2").TracesData
EVIL = "</script><img src=x onerror=alert(1)>\x1b]0;x\x07"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.write(
        create(bench, decisions=[recorded.decision("p", "patched")]),
        made(1, id="b1", container="abcdef123", command="start", status=1, error=EVIL, phases=[["a", 1.5], ["b", 99999.0]]),
        made(2, id="c1", container="", command="list", status=None, delegate="/usr/sbin/runc"),
        made(3, id="d1", container="d", command="run", status=1, error="policy q: no",
             decisions=[recorded.decision("r", "audited", "would be denied: no"), recorded.decision("q", "denied", "no")]),
    )  # fmt: skip
    return bench


def machine_id() -> str:
    path = Path("/etc/machine-id")
    return path.read_text().strip() if path.exists() else ""


def exported(bench: Bench, form: str) -> str:
    target = bench.place / f"out.{form}"
    result = bench.call("export", "--format", form, "--output", str(target))
    assert result.status == 0, result.err
    assert target.stat().st_mode & 0o777 == 0o600
    text = target.read_bytes().decode()
    assert bench.call("export", "--format", form).out == text.replace("\r\n", "\n")
    return text


def test_csv(bench: Bench) -> None:
    rows = list(csv.DictReader(exported(bench, "csv").splitlines()))
    assert [row["id"] for row in rows] == ["abc123abc123", "b1", "c1", "d1"]
    assert rows[0]["policies"] == "p"
    assert rows[1]["error"].startswith("</script>")
    assert rows[2]["status"] == ""
    told = [(row["result"], row["denied"], row["audited"]) for row in rows]
    assert told == [("ok", "0", "0"), ("failed", "0", "0"), ("ok", "0", "0"), ("denied", "1", "1")]
    assert {(row["host.name"], row["host.id"]) for row in rows} == {(os.uname().nodename, machine_id())}
    assert "\x1b" not in rows[1]["error"]


def test_otlp_is_what_a_collector_takes(bench: Bench) -> None:
    value = json.loads(exported(bench, "otlp"))
    for span in value["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name, length in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
            if name in span:
                assert re.fullmatch(f"[0-9a-f]{{{length}}}", span[name])
                # OTLP's JSON has ids in hexadecimal, protobuf's own in base64.
                span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    found = json_format.ParseDict(value, TracesData()).resource_spans[0]
    resource = {entry.key: entry.value.string_value for entry in found.resource.attributes}
    assert (resource["host.name"], resource.get("host.id", "")) == (os.uname().nodename, machine_id())
    spans = found.scope_spans[0].spans
    by_name = {span.name: span for span in spans}
    call = by_name["create"]
    attributes = {entry.key: entry.value for entry in call.attributes}
    words = [entry.string_value for entry in attributes["process.command_args"].array_value.values]
    assert words == [word.replace("\udcff", "\ufffd") for word in CREATE]
    assert attributes["container.id"].string_value == "abcdef123"
    assert call.end_time_unix_nano - call.start_time_unix_nano == round(made(0)["milliseconds"] * 1_000_000)
    failed = by_name["start"]
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    told = {name: {entry.key: entry.value for entry in span.attributes} for name, span in by_name.items()}
    assert [told[name]["error.type"].string_value for name in ("start", "run")] == ["failed", "denied"]
    assert "error.type" not in told["create"]
    for name, policy in (("denied", "q"), ("audited", "r")):
        (value,) = told["run"][f"hookrun.policies.{name}"].array_value.values
        assert value.string_value == policy
    assert failed.trace_id == call.trace_id != by_name["list"].trace_id
    assert by_name["a"].parent_span_id == failed.span_id
    assert len({span.span_id for span in spans}) == len(spans)
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    assert by_name["b"].end_time_unix_nano == failed.end_time_unix_nano


def test_perfetto_events_keep_the_rules(bench: Bench) -> None:
    """Of the trace event format: phases, times and arguments; events of a thread nest and do not overlap."""
    value = json.loads(exported(bench, "perfetto"))
    assert value["displayTimeUnit"] in ("ms", "ns")
    stacks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for event in value["traceEvents"]:
        assert isinstance(event["name"], str) and event["name"]
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event["ts"], int)
        if event["ph"] == "M":
            assert event["name"] == "process_name" and isinstance(event["args"]["name"], str)
            continue
        assert event["ph"] == "X"
        assert isinstance(event["dur"], int) and event["dur"] >= 0
        assert isinstance(event.get("args", {}), dict)
        stacks[event["pid"], event["tid"]].append(event)
    for events in stacks.values():
        for outer in events:
            for inner in events:
                starts, ends = inner["ts"], inner["ts"] + inner["dur"]
                until = outer["ts"] + outer["dur"]
                assert (
                    starts >= until
                    or ends <= outer["ts"]
                    or (starts >= outer["ts"] and ends <= until)
                    or (starts <= outer["ts"] and ends >= until)
                )
    names = {event["args"]["name"] for event in value["traceEvents"] if event["ph"] == "M"}
    assert names == {"abcdef123", "(no container)", "d"}


class Page(html.parser.HTMLParser):
    """What a page asks the network for, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "action", "data")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


def test_the_report_is_one_file_and_holds_every_call(bench: Bench) -> None:
    text = exported(bench, "html")
    page = Page(text)
    assert page.outside == []
    assert "img" not in page.tags
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "default-src 'none'" in text
    data, code = page.scripts
    calls = []
    for piece in json.loads(data):
        details = json.loads(zlib.decompress(base64.b64decode(piece["details"])))
        calls += [call | more for call, more in zip(piece["calls"], details, strict=True)]
    assert [call["id"] for call in calls] == ["abc123abc123", "b1", "c1", "d1"]
    assert calls[0]["diff"][0] == ["-", "/hostname", '"a"']
    assert len(calls[0]["diff"]) == len(PATCH) + 1
    assert calls[1]["error"] == EVIL
    assert calls[0]["text"].startswith("call ")
    assert [(call["result"], call["audited"]) for call in calls] == [
        ("ok", False),
        ("failed", False),
        ("ok", False),
        ("denied", True),
    ]
    assert "fetch(" not in code and "http:" not in code.replace('"http://www.w3.org/2000/svg"', "")


def test_an_empty_record_is_exported_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for form in ("html", "perfetto", "otlp", "csv"):
        assert bench.call("export", "--format", form).status == 0
