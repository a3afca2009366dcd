"""The record as one HTML file that needs nothing else: timeline, a page for each call with its diff, and charts.

What the overview shows of a call is plain JSON. What only the call's own page shows is most of the text: it is packed,
many calls together, and unpacked when a page is opened.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper import VERSION
from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.admin.trace import diff as trace_diff
from hookrun.wrapper.admin.trace import show as trace_show
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import effect_of, is_audited, result, seconds_of
from hookrun.wrapper.admin.trace.store import Store
from hookrun.wrapper.record.line import Line

_TEMPLATE = Path(__file__).with_name("report.html")
_DATA = "/*CALLS*/"
_FIELDS = ("id", "time", "engine", "command", "name", "container", "milliseconds", "status")
_PIECE = 200  # calls that are packed together


def render(selection: Selection) -> Iterator[str]:
    """The text in pieces."""
    before, _, after = _TEMPLATE.read_text(encoding="utf-8").replace("@VERSION@", VERSION).partition(_DATA)
    yield before
    separator = ""
    rest = selection.calls()
    while piece := list(itertools.islice(rest, _PIECE)):
        details = _packed([_details(selection.store, call) for call in piece])
        yield separator + _in_script({"calls": [_entry(call) for call in piece], "details": details})
        separator = ",\n"
    yield after


def _entry(call: Line) -> dict[str, Any]:
    """What the overview knows of a call; `start` is in milliseconds since 1970."""
    values: Mapping[str, Any] = call
    return {
        **{name: values[name] for name in _FIELDS},
        "error": call["error"] or trace_show.harm(call),
        "start": round(seconds_of(call["time"]) * 1000, 3),
        "result": result(call),
        "audited": is_audited(call),
        "policies": [[decision["policy"], effect_of(decision)] for decision in call["decisions"]],
        "hooks": [[hook["path"], hook["ms"], hook["status"]] for hook in call["hook_results"]],
    }


def _details(store: Store, call: Line) -> dict[str, Any]:
    """What the call's own page shows besides."""
    return {"text": "\n".join(trace_show.describe(call, call["name"])), "diff": list(_diff(store, call))}


def _packed(value: Any) -> str:
    """JSON in zlib's format (RFC 1950), which DecompressionStream calls "deflate", in base64."""
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def _diff(store: Store, call: Line) -> Iterator[tuple[str, str, str]]:
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
