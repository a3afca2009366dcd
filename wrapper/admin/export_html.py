"""The record as one HTML file that needs nothing else: timeline, a page for each call with its diff, and charts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin import trace_diff, trace_show
from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.admin.trace_index import is_denied, seconds_of
from hookrun.wrapper.admin.trace_store import Store

_TEMPLATE = Path(__file__).with_name("report.html")
_DATA = "/*CALLS*/"
_FIELDS = ("id", "time", "engine", "command", "container", "milliseconds", "status", "error", "phases")


def render(store: Store, calls: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The text in pieces."""
    before, _, after = _TEMPLATE.read_text(encoding="utf-8").replace("@VERSION@", VERSION).partition(_DATA)
    yield before
    separator = ""
    for call in calls:
        yield separator + _in_script(_entry(store, call))
        separator = ",\n"
    yield after


def _entry(store: Store, call: dict[str, Any]) -> dict[str, Any]:
    """What the page knows of a call; `start` is in milliseconds since 1970."""
    return {
        **{name: call[name] for name in _FIELDS},
        "start": round(seconds_of(call["time"]) * 1000, 3),
        "denied": is_denied(call),
        "text": "\n".join(trace_show.describe(call)),
        "diff": list(_diff(store, call)),
    }


def _diff(store: Store, call: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not call["config"] or not call["config"]["patch"]:
        return
    try:
        before = store.before(call)
    except Failure:
        before = None
    for sign, path, value in trace_diff.by_field(before, call["config"]["patch"]):
        yield sign, harmless(path), value


def _in_script(value: Any) -> str:
    """JSON that no HTML parser takes for markup."""
    text = json.dumps(value)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
