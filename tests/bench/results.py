"""The tables of each release under tests/bench/results/, and what has become slower between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

DIRECTORY = Path(__file__).parent / "results"
_TOLERATED = 1.1


def path_of(version: str) -> Path:
    return DIRECTORY / f"{version}.md"


def of_release_before(version: str) -> str:
    """The text of the newest release older than this one, "" where there is none."""
    older = [path for path in DIRECTORY.glob("*.md") if _order(path.stem) < _order(version)]
    return max(older, key=lambda path: _order(path.stem)).read_text() if older else ""


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def ratios(text: str) -> Iterator[tuple[tuple[str, str], float]]:
    """(row, column) and value of each column that is a ratio: those named `A / B`."""
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        else:
            for name, cell in zip(head, cells, strict=False):
                if " / " in name and cell and not cell.startswith("-"):
                    yield (cells[0], name), float(cell)


def slower(before: str, after: str) -> list[str]:
    """A line for each ratio that has grown by more than a tenth."""
    earlier = dict(ratios(before))
    return [
        f"{row}, {column}: {earlier[row, column]:.2f} -> {value:.2f}"
        for (row, column), value in ratios(after)
        if value > earlier.get((row, column), value) * _TOLERATED
    ]
