"""Hooks from all sources, in one order, none twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hookrun.hooks import addhooks, select
from hookrun.hooks.errors import HookError


def entry(path: str, *stages: str, when: Any = None) -> dict[str, Any]:
    return {"stages": list(stages), "hook": {"path": path}, "when": when, "source": "s", "file": "f", "line": 7}


def read(path: str) -> tuple[Any, str]:
    text = Path(path).read_text()
    return json.loads(text), text


NEVER: dict[str, Any] = {"always": False, "hasBindMounts": None, "annotations": [], "commands": [], "or": False}


def test_hooks_come_after_those_of_the_engine() -> None:
    config = {"hooks": {"prestart": [{"path": "/engine"}]}, "x": 1}
    changed, injected = select.injected(config, [entry("/a", "prestart", "poststop")])
    assert changed == {
        "hooks": {"prestart": [{"path": "/engine"}, {"path": "/a"}], "poststop": [{"path": "/a"}]},
        "x": 1,
    }
    origin = {"path": "/a", "source": "s", "file": "f", "line": 7}
    assert injected == [{"stage": "prestart", **origin}, {"stage": "poststop", **origin}]
    assert config == {"hooks": {"prestart": [{"path": "/engine"}]}, "x": 1}


def test_a_hook_that_is_there_is_not_added_again() -> None:
    config = {"hooks": {"prestart": [{"path": "/a"}]}}
    changed, injected = select.injected(config, [entry("/a", "prestart"), entry("/a", "prestart")])
    assert changed is config
    assert injected == []


def test_the_same_program_with_other_arguments_is_another_hook() -> None:
    config = {"hooks": {"prestart": [{"path": "/a", "args": ["a"]}]}}
    changed, _ = select.injected(config, [entry("/a", "prestart")])
    assert changed["hooks"]["prestart"] == [{"path": "/a", "args": ["a"]}, {"path": "/a"}]


def test_what_does_not_match_is_left_out() -> None:
    config: dict[str, Any] = {}
    entries = [entry("/a", "prestart", "precreate", when=NEVER)]
    assert select.injected(config, entries) == (config, [])
    assert select.filters(config, entries) == []


def test_filters_are_no_hooks() -> None:
    config: dict[str, Any] = {}
    entries = [entry("/a", "precreate"), entry("/b", "precreate", "poststop")]
    changed, _ = select.injected(config, entries)
    assert changed == {"hooks": {"poststop": [{"path": "/b"}]}}
    assert [filter_["hook"]["path"] for filter_ in select.filters(config, entries)] == ["/a", "/b"]


@pytest.mark.parametrize("hooks", [[], "x", {"prestart": "x"}, {"prestart": {"a": 1}}])
def test_a_config_that_is_none_is_left_to_the_runtime(hooks: Any) -> None:
    config = {"hooks": hooks}
    changed, injected = select.injected(config, [entry("/a", "poststop")])
    assert changed is config or (not hooks and len(injected) == 1)


def test_the_file_on_the_command_line_is_told_by_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    file.write_text(
        '{"hooks":\n {"prestart": [\n  {"path": "/one"},\n  {"path": "/two", "args": ["path"], "env": ["path=1"]}\n]}}'
    )
    changed, injected = addhooks.injected({"hooks": {"prestart": [{"path": "/a"}]}}, str(file), read)
    assert [hook["path"] for hook in changed["hooks"]["prestart"]] == ["/a", "/one", "/two"]
    assert [(one["source"], one["file"], one["line"]) for one in injected] == [
        ("oci-add-hooks", str(file), 3),
        ("oci-add-hooks", str(file), 4),
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"hooks": {"prestart": [{"path": "relative"}]}}', None])
def test_a_bad_file_on_the_command_line_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "hooks.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(HookError, match=f"^{file}"):
        addhooks.injected({}, str(file), read)
