"""The record as CSV (RFC 4180): a line for each call."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.admin.trace.export import host as export_host
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import is_audited, is_denied, result
from hookrun.wrapper.admin.trace.show import shell_line

_PLAIN = (
    "id",
    "time",
    "engine",
    "command",
    "container",
    "name",
    "status",
    "milliseconds",
    "error",
    "profile",
    "delegate",
    "pid",
)
_MORE = (
    "host.name",
    "host.id",
    "result",
    "caller",
    "denied",
    "audited",
    "policies",
    "hooks",
    "config_before",
    "config_after",
    "argv",
)
_HEADINGS = (*_PLAIN, *_MORE)


def render(selection: Selection) -> Iterator[str]:
    """The text in pieces."""
    machine = export_host.identity()
    yield _line(_HEADINGS)
    for call in selection.calls():
        values: Mapping[str, Any] = call
        config = call["config"] or {"before": "", "after": ""}
        yield _line(
            [
                *("" if values[name] is None else values[name] for name in _PLAIN),
                machine["host.name"],
                machine["host.id"],
                result(call),
                call["caller"]["exe"],
                int(is_denied(call)),
                int(is_audited(call)),
                " ".join(decision["policy"] for decision in call["decisions"]),
                " ".join(hook["path"] for hook in call["hook_results"]),
                config["before"],
                config["after"],
                shell_line(call["argv"]),
            ]
        )


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([harmless(str(value)) for value in values])
    return text.getvalue()
