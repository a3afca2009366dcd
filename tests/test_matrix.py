"""The README's matrix: what fills it, and when it is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import matrix

FEATURE, OTHER = matrix.FEATURES[:2]
ENGINE = matrix.ENGINES[0]
DOCKER, _, LATER_DOCKER, CTR = matrix.COLUMNS[:4]


def test_what_is_written_can_be_read() -> None:
    outcomes = {(FEATURE, DOCKER): matrix.PASSED, (OTHER, CTR): matrix.FAILED}
    text = matrix.rewritten(f"before\n{matrix._BEGIN}\nold\n{matrix._END}\nafter\n", outcomes)
    assert matrix.published(text) == outcomes
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert matrix.rewritten(text, outcomes) == text
    with pytest.raises(ValueError, match="no line"):
        matrix.rewritten("no place", outcomes)


def test_stale() -> None:
    said = {(FEATURE, DOCKER): matrix.PASSED, (FEATURE, CTR): matrix.PASSED}
    assert matrix.stale(said, {(FEATURE, DOCKER): matrix.PASSED}, complete=False) == []
    (gone,) = matrix.stale(said, {(FEATURE, DOCKER): matrix.PASSED}, complete=True)
    assert gone == f"{FEATURE}, {CTR}: the README says passed, the tests say nothing"
    (new,) = matrix.stale({}, {(FEATURE, DOCKER): matrix.PASSED}, complete=False)
    assert new.endswith("the README says nothing, the tests say passed")


def test_cells_of_markers() -> None:
    marks = [pytest.mark.matrix(feature=(FEATURE, OTHER)).mark, pytest.mark.matrix(engine=ENGINE).mark]
    assert matrix.cells_of(marks, "bookworm") == [(FEATURE, DOCKER), (OTHER, DOCKER)]
    assert matrix.cells_of(marks, "forky") == [(FEATURE, LATER_DOCKER), (OTHER, LATER_DOCKER)]
    assert matrix.cells_of([], "bookworm") == []
    with pytest.raises(ValueError, match="has no Dockre"):
        matrix.cells_of([pytest.mark.matrix(engine="Dockre").mark], "bookworm")


def test_a_cell_is_judged_by_all_of_its_tests() -> None:
    collector = matrix.Collector()
    cell, other = (FEATURE, DOCKER), (FEATURE, CTR)
    collector.cells = {"a": [cell], "b": [cell], "c": [other]}
    collector.passed = {"a", "c"}
    assert collector.outcomes() == {other: matrix.PASSED}
    collector.passed = {"a", "b", "c"}
    assert collector.outcomes() == {cell: matrix.PASSED, other: matrix.PASSED}
    collector.failed = {"b"}
    assert collector.outcomes() == {cell: matrix.FAILED, other: matrix.PASSED}


RUN = """
import pytest
from tests import matrix

@pytest.mark.matrix(engine={engine!r}, feature={feature!r})
@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("machine", ["bookworm", "forky"])
def test_it(name: str, machine: str) -> None:
    assert name and machine
"""


@pytest.mark.parametrize(("words", "status"), [((), 1), (("-k", "first"), 0)])
def test_a_run_fails_with_a_stale_readme(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
) -> None:
    test = tmp_path / f"test_run_{status}.py"
    test.write_text(RUN.format(engine=ENGINE, feature=FEATURE))
    readme = tmp_path / "README.md"
    readme.write_text(f"{matrix._BEGIN}\n{matrix._END}\n")
    monkeypatch.setattr(matrix, "README", readme)
    monkeypatch.setenv("HOOKRUN_ARTEFACTS", str(tmp_path))
    arguments = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--override-ini",
        "addopts=",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
        str(test),
        *words,
    ]
    assert pytest.main(arguments, plugins=[matrix.Collector()]) == status
    assert ("matrix is stale" in capsys.readouterr().out) == bool(status)
    if status:
        monkeypatch.setattr("sys.argv", ["matrix"])
        assert matrix.main() == 0
        assert matrix.published(readme.read_text()) == dict.fromkeys(
            [(FEATURE, DOCKER), (FEATURE, LATER_DOCKER)], matrix.PASSED
        )
        assert pytest.main(arguments, plugins=[matrix.Collector()]) == 0
