"""The README's matrix, engine by feature, from the tests that ran.

A pytest plugin collects what became of the tests with the marker `matrix`; at the end of a run it fails the run where
the README says otherwise. `python -m tests.matrix` writes the README from what the last run left.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import parallel
from tests.support.generations import HERE, RELEASES

CHECKOUT = Path(__file__).parents[1]
README = CHECKOUT / "README.md"
ENGINES = ("Docker", "containerd, ctr", "containerd, CRI", "CRI-O, replayed", "Podman", "Buildah")
FEATURES = (
    "create, exec, stop, restart, delete",
    "hooks and the record",
    "a denial reaches the user",
    "in front of runc",
    "in front of crun",
    "registered by `hookctl engine`",
    "default runtime",
    "image builds",
    "restart policies and compose",
    "health checks",
    "pods",
    "port-forward",
    "stats",
    "limits",
    "terminals",
    "rootless",
    "checkpoint and restore",
)
COLUMNS = tuple(f"{engine} ({number})" for engine in ENGINES for number in RELEASES.values())
PASSED, FAILED = "passed", "failed"
_SIGNS = {PASSED: "yes", FAILED: "**no**"}
_BEGIN, _END = "<!-- matrix: written by `python -m tests.matrix` from a test run -->", "<!-- end of the matrix -->"

Cell = tuple[str, str]  # feature, column
Outcomes = dict[Cell, str]


def artefact() -> Path:
    """Where a run leaves its outcomes."""
    return Path(os.environ.get("HOOKRUN_ARTEFACTS") or CHECKOUT / "artefacts") / "matrix.json"


def cells_of(markers: Iterable[pytest.Mark], release: str) -> list[Cell]:
    """The cells that a test's markers name: each feature of theirs with each engine, of that release of Debian.

    Raises ValueError for others.
    """
    named = [(mark.kwargs.get("feature", ()), mark.kwargs.get("engine", ())) for mark in markers]
    features = [name for some, _ in named for name in _names(some)]
    engines = [name for _, some in named for name in _names(some)]
    strange = {*features, *engines} - {*FEATURES, *ENGINES}
    if strange:
        raise ValueError(f"tests/matrix.py has no {', '.join(sorted(strange))}")
    columns = [f"{name} ({RELEASES[release]})" for name in engines]
    return list(itertools.product(features, columns))


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def table(outcomes: Outcomes) -> str:
    """The Markdown of the matrix; rows that no test fills are left out."""
    rows = [f"| | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for feature in FEATURES:
        signs = [_SIGNS.get(outcomes.get((feature, column), ""), "") for column in COLUMNS]
        if any(signs):
            rows.append(f"| {feature} | {' | '.join(signs)} |")
    return "\n".join(rows)


def published(text: str) -> Outcomes:
    """The outcomes that a README tells of."""
    found: Outcomes = {}
    engines: list[str] = []
    for line in text.partition(_BEGIN)[2].partition(_END)[0].strip().splitlines():
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        if not first:
            engines = rest
            continue
        meanings = {sign: outcome for outcome, sign in _SIGNS.items()}
        found |= {
            (first, engine): meanings[sign] for engine, sign in zip(engines, rest, strict=True) if sign in meanings
        }
    return found


def rewritten(text: str, outcomes: Outcomes) -> str:
    """A README with the matrix of these outcomes. Raises ValueError where it has no place for it."""
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no line {_BEGIN!r}, and {_END!r} after it")
    return pattern.sub(lambda _: f"{_BEGIN}\n\n{table(outcomes)}\n\n{_END}", text)


def stale(published_outcomes: Outcomes, ran: Outcomes, complete: bool) -> list[str]:
    """Lines on what the README says otherwise than a run; what did not run counts in a complete one alone."""
    cells = {*ran, *published_outcomes} if complete else set(ran)
    return [
        f"{feature}, {engine}: the README says {published_outcomes.get((feature, engine), 'nothing')},"
        f" the tests say {ran.get((feature, engine), 'nothing')}"
        for feature, engine in sorted(cells)
        if published_outcomes.get((feature, engine)) != ran.get((feature, engine))
    ]


class Collector:
    """The plugin of one run."""

    def __init__(self) -> None:
        self.cells: dict[str, list[Cell]] = {}
        self.failed: set[str] = set()
        self.passed: set[str] = set()
        self.skipped: set[str] = set()
        self.problems: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note the cells before -k and -m leave tests out: a cell is judged by all of its tests."""
        for item in items:
            cells = cells_of(item.iter_markers("matrix"), _release_of(item))
            if cells:
                self.cells[item.nodeid] = cells

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.skipped:
            self.skipped.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What one of several workers (pytest-xdist) has collected."""
        for test, cells in getattr(node, "workeroutput", {}).get("matrix", {}).items():
            self.cells[test] = [(feature, engine) for feature, engine in cells]

    def outcomes(self) -> Outcomes:
        """What became of each cell: failed by one test, passed by all; others, which are left out, are not known."""
        tests: dict[Cell, set[str]] = {}
        for test, cells in self.cells.items():
            for cell in cells:
                tests.setdefault(cell, set()).add(test)
        found = {cell: FAILED for cell, some in tests.items() if some & self.failed}
        return found | {cell: PASSED for cell, some in tests.items() if some <= self.passed - self.failed}

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        if parallel.is_worker(session.config):
            session.config.workeroutput["matrix"] = self.cells  # type: ignore[attr-defined]
            yield
            return
        ran = self.outcomes()
        if ran and not session.config.option.collectonly:
            complete = self.cells.keys() <= self.passed | self.failed and _is_whole(session.config)
            self.problems = stale(published(README.read_text()), ran, complete)
            _leave(ran)
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.problems:
            terminalreporter.section("the README's matrix is stale: `python -m tests.matrix`", red=True)
            terminalreporter.write_line("\n".join(self.problems))


def _release_of(item: pytest.Item) -> str:
    """The Debian whose engines a test is of (the fixture `machine`)."""
    callspec = getattr(item, "callspec", None)
    release: str = callspec.params.get("machine", HERE.release) if callspec else HERE.release
    return release


def _is_whole(config: pytest.Config) -> bool:
    """Whether the run was not given tests or folders of its own."""
    return config.args_source is not pytest.Config.ArgsSource.ARGS


def _leave(ran: Outcomes) -> None:
    path = artefact()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps([{"feature": cell[0], "engine": cell[1], "outcome": ran[cell]} for cell in sorted(ran)], indent=1)
    )


def left() -> Outcomes:
    """The outcomes that the last run left."""
    lines: list[dict[str, Any]] = json.loads(artefact().read_text())
    return {(line["feature"], line["engine"]): line["outcome"] for line in lines}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector(), "matrix")


def main() -> int:
    """Write the README's matrix: the last run's outcomes, and what is published of the cells that it left out."""
    text = README.read_text()
    README.write_text(rewritten(text, published(text) | left() if "--partial" in sys.argv else left()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
