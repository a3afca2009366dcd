"""The record as CSV (RFC 4180): a line for each call."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from hookrun.wrapper.admin.output import harmless
from hookrun.wrapper.admin.trace_index import is_denied
from hookrun.wrapper.admin.trace_show import shell_line

_PLAIN = (
    "id",
    "time",
    "engine",
    "command",
    "container",
    "status",
    "milliseconds",
    "error",
    "profile",
    "delegate",
    "pid",
)
_HEADINGS = (*_PLAIN, "caller", "denied", "policies", "hooks", "config_before", "config_after", "argv")


def render(calls: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The text in pieces."""
    yield _line(_HEADINGS)
    for call in calls:
        config = call["config"] or {"before": "", "after": ""}
        yield _line(
            [
                *("" if call[name] is None else call[name] for name in _PLAIN),
                call["caller"]["exe"],
                int(is_denied(call)),
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
