"""The formats of `hookctl trace export`."""

from __future__ import annotations

from enum import StrEnum

from hookrun.wrapper.admin.trace.export import as_csv, as_html, as_otlp, as_perfetto
from hookrun.wrapper.admin.trace.export.selection import Exporter


class Format(StrEnum):
    """What `export` writes."""

    html = "html"
    perfetto = "perfetto"
    otlp = "otlp"
    csv = "csv"


EXPORTERS: dict[Format, Exporter] = {
    Format.html: as_html.render,
    Format.perfetto: as_perfetto.render,
    Format.otlp: as_otlp.render,
    Format.csv: as_csv.render,
}
