"""What hookctl prints: tables that fit the terminal, plain text where the output is no terminal, JSON on demand.

Colours follow NO_COLOR and the terminal; what comes out of a record is made harmless for a terminal first.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hookrun.runtime.errors import Failure

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# Wider than any line: what is piped is never cut.
_UNLIMITED = 1_000_000
_SHORT = 1  # seconds


def console() -> Console:
    """The standard output, as wide as the terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    return Console(highlight=False, markup=False, emoji=False, no_color=True, color_system=None, width=_UNLIMITED)


def harmless(text: str) -> str:
    """A text without control characters, bytes that are not UTF-8 and other surprises for a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    styles: Iterable[str] = (),
    *,
    wrap: bool = False,
    whole: Container[str] = (),
) -> None:
    """Print rows under headings; numbers go to the right. `styles` has a rich style for each row, or is empty.

    What a terminal has no room for is cut off, or goes on in the next line with `wrap` and in the columns `whole`.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(cells) and all(row[at].replace(".", "", 1).isdigit() or row[at] in ("", "-") for row in cells)
        for at in range(len(headings))
    ]
    if not sys.stdout.isatty():
        _plain_table(headings, cells, numeric)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading, is_number in zip(headings, numeric, strict=True):
        is_whole = wrap or heading in whole
        overflow: Literal["fold", "ellipsis"] = "fold" if is_whole else "ellipsis"
        justify: Literal["right", "left"] = "right" if is_number else "left"
        shown.add_column(heading, no_wrap=not is_whole, overflow=overflow, justify=justify)
    for row, style in zip(cells, list(styles) or [""] * len(cells), strict=True):
        shown.add_row(*(Text(cell) for cell in row), style=style)
    console().print(shown)


def line(row: Sequence[object], widths: Sequence[int]) -> str:
    """One row of a table that has no end; the last cell is as wide as it is."""
    return "  ".join(_cell(value).ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None else harmless(str(value))


def _plain_table(headings: Sequence[str], cells: list[list[str]], numeric: list[bool]) -> None:
    everything = [list(headings), *cells]
    widths = [max(len(row[at]) for row in everything) for at in range(len(headings))]
    for row in everything:
        words = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(words).rstrip())


def as_json(value: Any) -> None:
    """Print a value as JSON, indented for people."""
    typer.echo(json.dumps(value, indent=2))


def tell(text: str, facts: dict[str, Any], *, in_json: bool) -> None:
    """Say what was done: in a sentence, or in facts as JSON."""
    if in_json:
        as_json(facts)
    else:
        typer.echo(text)


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if whoever sits there says yes; `yes` is --yes. Raises Failure."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody to ask: add --yes")
    if not typer.confirm(question, err=True):
        raise Failure("nothing was changed")


def as_json_list(values: Iterable[Any]) -> None:
    """Print values as a JSON array, one a line, each as soon as it is known."""
    separator = "[\n"
    for value in values:
        typer.echo(separator + json.dumps(value), nl=False)
        separator = ",\n"
    typer.echo("[]" if separator == "[\n" else "\n]")


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """A bar on stderr, if that is a terminal, once a second has passed; gives what is told of each step done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    stderr = Console(stderr=True)
    bar = Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal)
    task = bar.add_task(what, total=total)
    begin = time.monotonic()

    def advance(step: float) -> None:
        if time.monotonic() - begin > _SHORT:
            bar.start()
        bar.advance(task, step)

    try:
        yield advance
    finally:
        bar.stop()
