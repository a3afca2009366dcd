"""`--json` of the commands about policies: one value each, of the shape that policies/README.md has, and the same status."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from loguru import logger
from typer.testing import CliRunner

from hookrun import policies
from hookrun.wrapper.admin.app import app
from tests.wrapper.admin.support import Desk

GUIDE = Path(policies.__file__).parent / "README.md"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)
    logger.remove()  # what hookctl made of it in this process
    logger.add(sys.stderr)


def commands(command: Any, path: str = "") -> list[tuple[str, Any]]:
    below = [
        found
        for name, one in getattr(command, "commands", {}).items()
        for found in commands(one, f"{path} {name}".strip())
    ]
    is_run = not below or command.invoke_without_command
    return [*([(path, command)] if is_run else []), *below]


def test_each_command_about_policies_has_it_and_is_in_the_guide() -> None:
    about = [
        one
        for one in commands(typer.main.get_command(app))
        if one[0].split()[0] in ("policy", "apply", "history", "rollback", "refresh")
    ]
    assert len(about) == 12
    assert [
        name for name, command in about if not any("--json" in parameter.opts for parameter in command.params)
    ] == []
    chapter = GUIDE.read_text().partition("## JSON\n")[2].partition("\n## ")[0]
    assert {name for name, _ in about} == set(re.findall(r"^\| `([a-z ]+)` \|", chapter, re.MULTILINE))


def test_each_command_has_it() -> None:
    """But for those whose output is in a format of its own: Prometheus' text, and that of `--format`."""
    lacking = [
        name
        for name, command in commands(typer.main.get_command(app))
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert lacking == ["metrics", "trace export"]


def test_values_and_statuses(desk: Desk, tmp_path: Path) -> None:
    exceptions = [{"match": {"field": "/hostname", "equals": "old"}, "reason": "r", "until": "2001-01-31"}]
    tests = [
        {"name": "good", "config": {"hostname": "h"}, "expect": {"denied": "not h"}},
        {"name": "bad", "expect": {"matched": False}},
    ]
    spec = {
        "deny": [{"when": {"field": "/hostname", "equals": "h"}, "message": "not ${/hostname}"}],
        "exceptions": exceptions,
    }
    metadata = {"name": "a", "severity": "low", "owner": "o", "description": "d"}
    path = str(desk.policy("a", spec, tests=tests, metadata=metadata))
    desk.policy("b", {"mode": "audit", "merge": {"domainname": "x"}}, tests=[])
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in ("h", "i"):
        (configs / f"{name}.json").write_text(json.dumps({"hostname": name}))

    def value(*words: str | Path, status: int = 0) -> Any:
        # In this process: a start of Python for each would take the test's time.
        result = CliRunner().invoke(
            app, ["--config", str(desk.config), "--state", str(desk.state), *map(str, words), "--json"]
        )
        assert result.exit_code == status, (words, result.output, result.exception)
        return json.loads(result.stdout)

    known = {
        "name": "a",
        "priority": 1000,
        "mode": "enforce",
        "onError": "deny",
        "severity": "low",
        "owner": "o",
        "description": "d",
    }
    known |= {"file": path, "line": 1, "exceptions": [{"line": 1, "reason": "r", "until": "2001-01-31", "ended": True}]}
    listed = value("policy", "list")
    assert listed[0] == known and [one["name"] for one in listed] == ["a", "b"]
    shown = value("policy", "show", "a")
    assert shown == {**known, "text": Path(path).read_text(), "document": json.loads(Path(path).read_text())}
    linted = value("policy", "lint", status=1)
    assert {one["level"] for one in linted} == {"warning", "note"} and {
        "level",
        "file",
        "line",
        "column",
        "text",
        "policy",
    } == set(linted[0])
    tested = value("policy", "test", status=1)
    assert (tested["passed"], tested["failed"]) == (1, 1)
    assert tested["tests"][1] == {
        "policy": "a",
        "name": "bad",
        "file": path,
        "line": 1,
        "passed": False,
        "problem": "it matched",
    }
    explained = value("policy", "explain", configs / "i.json")
    assert explained["denied"] == "" and [one["action"] for one in explained["policies"]] == ["passed", "patched"]
    assert explained["policies"][1]["patch"] == [{"op": "add", "path": "/domainname", "value": "x"}]
    explained = value("policy", "explain", configs / "h.json")
    (denied,) = explained["policies"]
    assert explained["denied"] == denied["message"] == "not h"
    assert denied["matched"] and denied["action"] == "denied" and "✓ it is for every call" in denied["why"]
    simulated = value("policy", "simulate", configs, "--fail-on", "denied=1", status=1)
    assert {name: simulated[name] for name in ("calls", "denied", "changed")} == {"calls": 2, "denied": 1, "changed": 1}
    assert simulated["policies"][0] == {"policy": "a", "denied": 1, "changed": 0, "error": 0, "exempt": 0}
    assert simulated["decisions"][0] == {"call": "h.json", "policy": "a", "action": "denied", "message": "not h"}

    added = {"added": ["a", "b"], "removed": [], "changed": []}
    note = f"{path}:1:1: policy a: its exception in line 1 ended: 2001-01-31"
    dry = value("apply", "--dry-run", "--exit-code", status=1)
    assert dry == {
        "changed": True,
        "policies": added,
        "parts": ["hooks"],
        "files": dry["files"],
        "notes": [note],
        "number": None,
    }
    assert any(line.startswith("+++ ") for line in dry["files"])
    result = desk("apply", "--json")
    assert (result.status, result.out, result.err) == (1, "", "hookctl: nobody to ask: add --yes\n")
    assert value("apply", "--yes")["number"] == 1
    unchanged = value("apply", "--yes")
    assert (unchanged["changed"], unchanged["number"], unchanged["files"]) == (False, None, [])
    made = value("policy", "new", "drop-net-raw")
    assert made == {"name": "drop-net-raw", "file": str(desk.policies / "drop-net-raw.yaml")}
    library = value("policy", "new", "--list")
    assert {"name", "description", "breaks"} == set(library[0]) and "drop-net-raw" in [one["name"] for one in library]
    value("apply", "--yes")
    differs = value("history", "diff", "1", "2")
    assert differs["policies"]["added"] == ["drop-net-raw"] and (differs["before"], differs["after"]) == (1, 2)
    assert value("rollback", "--yes") == {"number": 1}
    assert [one["inForce"] for one in value("history")] == [True, False]
    assert value("refresh") == {"launchers": []}
    (desk.policies / "b.yaml").write_text("spec: 5\n")
    result = desk("apply", "--yes", "--json")
    assert (result.status, result.out) == (1, "") and f"{desk.policies}/b.yaml:1:1: apiVersion is missing" in result.err
