"""`hookctl policy`: new, lint, test, list, show, explain, simulate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hookrun import policies
from tests.wrapper.admin.support import Desk

LIBRARY = Path(policies.__file__).parent / "library"
NO_SOCKET: dict[str, Any] = {
    "deny": [{"when": {"field": "/mounts/*/source", "equals": "/run/x.sock"}, "message": "no socket"}]
}
SOCKET = {"ociVersion": "1.0.2", "mounts": [{"destination": "/s", "source": "/run/x.sock"}]}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in LIBRARY.glob("*.yaml")))
def test_new_from_the_library(desk: Desk, name: str) -> None:
    assert f"policies.d/{name}.yaml: written" in desk.check("policy", "new", name)
    assert (desk.policies / f"{name}.yaml").read_text() == (LIBRARY / f"{name}.yaml").read_text(), "comments and all"
    desk.check("policy", "lint")
    desk.check("policy", "test")
    desk.check("apply", "--yes")


def test_new_by_another_name_and_the_template(desk: Desk) -> None:
    desk.check("policy", "new", "mine", "--from", "drop-net-raw")
    desk.check("policy", "new", "template")
    assert desk.check("policy", "test") == "3 passed, 0 failed\n"
    listed = desk.check("policy", "list")
    assert "mine" in listed and "template" in listed and "drop-net-raw" not in listed
    assert "already exists" in desk("policy", "new", "mine").err
    assert "did you mean 'drop-net-raw'?" in desk("policy", "new", "other", "--from", "drop-netraw").err
    assert "no-engine-socket" in desk.check("policy", "new", "--list")
    assert "metadata.name: it must be made of lower-case letters" in desk("policy", "new", "Not/This").err


def test_lint(desk: Desk, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: a}\nspec:\n  mach: {}\n  patch: 1\n")
    result = desk("policy", "lint", bad)
    assert result.status == 1
    assert result.out.splitlines() == [
        f"{bad}:5:3: spec: there is no 'mach' here; did you mean 'match'?",
        f"{bad}:6:10: spec.patch: it must be a list, not a number",
    ]
    desk.policy("a", {})
    assert desk.check("policy", "lint").splitlines() == [
        f"note: {desk.policies}/a.yaml:1:1: policy a has no tests",
        "1 policy, nothing wrong",
    ]
    assert desk("policy", "lint", desk.policies, desk.policies / "a.yaml").status == 1, "twice the same name"
    assert "cannot read" in desk("policy", "lint", tmp_path / "nosuch.yaml").err


def test_lint_for_machines(desk: Desk) -> None:
    metadata = {"name": "a", "description": "of a", "owner": "team red", "severity": "high"}
    path = desk.policy("a", {"match": {"engine": "dokcer"}}, metadata=metadata)
    desk.policy("b", {"mode": "audit"}, tests=[{"name": "t", "expect": {"matched": True}}])
    text = "spec.match.engine: unknown engine 'dokcer'; did you mean 'docker'?"
    result = desk("policy", "lint", "--format", "json")
    warning, note = json.loads(result.out)
    assert result.status == 1
    assert (warning["level"], warning["file"], warning["text"]) == ("warning", str(path), text)
    assert (note["level"], note["text"], note["policy"]) == ("note", "policy a has no tests", "a")
    log = json.loads(desk("policy", "lint", "--format", "sarif").out)
    assert log["version"] == "2.1.0"
    first, second = log["runs"][0]["results"]
    assert first["ruleId"] == second["ruleId"] == "a"
    high, unsaid = log["runs"][0]["tool"]["driver"]["rules"]
    assert high == {
        "id": "a",
        "properties": {"severity": "high", "owner": "team red"},
        "shortDescription": {"text": "of a"},
        "defaultConfiguration": {"level": "error"},
    }
    assert unsaid == {"id": "b", "properties": {"severity": "", "owner": ""}}
    listed = [line.split() for line in desk.check("policy", "list").splitlines()]
    assert listed[1][1:6] == ["a", "enforce", "deny", "high", "team"] and listed[2][1:6] == [
        "b",
        "audit",
        "deny",
        "-",
        "-",
    ]
    config = path.parent / "config.json"
    config.write_text("{}")
    assert f"policy a (enforce, severity high, team red, {path}:1)\n" in desk.check("policy", "explain", config)
    place = first["locations"][0]["physicalLocation"]
    assert (first["level"], first["message"]["text"], second["level"]) == ("warning", text, "note")
    assert place["artifactLocation"]["uri"] == f"file://{path}"
    assert place["region"] == {"startLine": warning["line"], "startColumn": warning["column"]}


def test_test_and_junit(desk: Desk, tmp_path: Path) -> None:
    tests = [
        {"name": "good", "config": SOCKET, "expect": {"denied": "no socket"}},
        {"name": "<bad>", "config": SOCKET, "expect": {"denied": False}},
    ]
    path = desk.policy("a", NO_SOCKET, tests=tests)
    result = desk("policy", "test", "--junit", tmp_path / "out.xml")
    assert result.status == 1
    assert result.out.splitlines() == [f"FAILED {path}:1: a: <bad>: it was denied: no socket", "1 passed, 1 failed"]
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [(case.get("name"), len(case)) for case in suite] == [("good", 0), ("<bad>", 1)]


def test_list_and_show(desk: Desk) -> None:
    desk.policy("late", {"priority": 9999, "mode": "audit"})
    (desk.policies / "two.yaml").write_text(
        "# first\napiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: x1}\nspec: {} # kept\n---\n"
        "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: x2, description: the second}\nspec: {}\n"
    )
    rows = [line.split() for line in desk.check("policy", "list").splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["1000", "x1", "enforce"],
        ["1000", "x2", "enforce"],
        ["9999", "late", "audit"],
    ]
    shown = desk.check("policy", "show", "x1")
    assert "spec: {} # kept" in shown and "x2" not in shown
    assert "the second" in desk.check("policy", "show", "x2")
    assert "there is no policy 'x3'" in desk("policy", "show", "x3").err


def test_explain(desk: Desk, tmp_path: Path) -> None:
    desk.policy("a", {"priority": 1, "match": {"engine": "podman"}, "merge": {"hostname": "x"}})
    desk.policy("b", {"priority": 2, "match": {"command": ["create"]}, "merge": {"hostname": "y"}})
    desk.policy(
        "c",
        {
            "priority": 3,
            "mode": "audit",
            "deny": [{"when": {"field": "/hostname", "equals": "y"}, "message": "never y"}],
        },
    )
    desk.policy("d", {**NO_SOCKET, "priority": 4})
    desk.policy("e", {"priority": 5})
    (tmp_path / "config.json").write_text(json.dumps(SOCKET))
    for what in (tmp_path, tmp_path / "config.json"):
        lines = desk.check("policy", "explain", what).splitlines()
        text = "\n".join(lines)
        assert "  ✗ engine equals 'podman': it is 'docker'\n  -> does nothing" in text
        assert "  ✓ command in ['create']: it is 'create'" in text
        assert '  -> patched\n     add /hostname "y"' in text
        assert "  -> would be denied: never y" in text
        assert "    ✓ /mounts/*/source equals '/run/x.sock': it is '/run/x.sock'" in text
        assert "  -> denied: no socket\nthe call is refused; the policies after it are not asked" in text
        assert "policy e" not in text
    assert '-> patched\n     add /hostname "x"' in desk.check("policy", "explain", tmp_path, "--engine", "podman")
    (tmp_path / "config.json").write_text(json.dumps(SOCKET).replace("mounts", "Mounts").replace("source", "SOURCE"))
    assert "  -> denied: no socket" in desk.check("policy", "explain", tmp_path)


def test_large_changes_in_full(desk: Desk, tmp_path: Path) -> None:
    desk.policy("a", {"env": {"force": {f"NAME_{number}": str(number) for number in range(20)}}})
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "config.json").write_text(json.dumps({"process": {"env": []}}))
    for words in (("explain", configs / "config.json"), ("simulate", configs)):
        assert "/process/env replaced (20 changes)" in desk.check("policy", *words)
        assert "/process/env/19" in desk.check("policy", *words, "--full")
        assert "/process/env/19" not in desk.check("policy", *words)


def test_simulate_on_configs(desk: Desk, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    (configs / "bundle").mkdir(parents=True)
    (configs / "bundle/config.json").write_text(json.dumps(SOCKET))
    (configs / "other.json").write_text(json.dumps({"process": {"env": []}}))
    desk.policy("a", {**NO_SOCKET, "mode": "audit"})
    desk.policy("b", {"env": {"force": {"A": "1"}}})
    desk.policy("c", {"patch": [{"op": "remove", "path": "/nosuch"}], "onError": "allow"})
    desk.policy("off", {"mode": "off", "deny": [{"message": "never"}]})
    lines = desk.check("policy", "simulate", configs).splitlines()
    rows = [line.split(maxsplit=3) for line in lines]
    assert rows[1] == ["bundle/config.json", "a", "denied", "no socket"]
    assert rows[2] == ["other.json", "b", "changed", "/process/env/0"]
    assert rows[3][:3] == ["other.json", "c", "error"]
    counts = {row[0]: row[1:] for row in rows[6:9]}
    assert {name: " ".join(count).split() for name, count in counts.items()} == {
        "a": ["1", "0", "0", "0"],
        "b": ["0", "1", "0", "0"],
        "c": ["0", "0", "1", "0"],
    }
    assert lines[-1] == "2 calls: 1 would be denied, 1 would be changed"
    for limits, status in (
        ("denied=2,changed=2", 0),
        ("denied=1", 1),
        ("changed=1", 1),
        ("denied=0", 1),
        ("error=1", 1),
        ("denied=x", 1),
    ):
        result = desk("policy", "simulate", configs, "--fail-on", limits)
        assert result.status == status, limits
        assert ("--fail-on: " in result.err) is (limits in ("denied=0", "error=1", "denied=x"))


def test_simulate_counts_what_cannot_be_evaluated_as_denied(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"process": {"env": []}}))
    (tmp_path / "configs").mkdir()
    (tmp_path / "config.json").rename(tmp_path / "configs/config.json")
    desk.policy("c", {"patch": [{"op": "remove", "path": "/nosuch"}]})
    lines = desk.check("policy", "simulate", tmp_path / "configs").splitlines()
    assert lines[1].split()[:3] == ["config.json", "c", "denied"] and "cannot be evaluated" in lines[1]
    assert lines[-1] == "1 call: 1 would be denied, 0 would be changed"


def test_exceptions_are_told_everywhere(desk: Desk, tmp_path: Path) -> None:
    socket = {"field": "/mounts/*/source", "equals": "/run/x.sock"}
    exceptions = [
        {"match": {"field": "/hostname", "equals": "old"}, "reason": "legacy", "until": "2099-01-31"},
        {"match": {"field": "/hostname", "equals": "older"}, "reason": "migration", "until": "2001-01-31"},
    ]
    path = desk.policy("a", {"exceptions": exceptions, "deny": [{"when": socket, "message": "no socket"}]})
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in ("new", "old", "older"):
        (configs / f"{name}.json").write_text(json.dumps({**SOCKET, "hostname": name}))
    ended = "its exception in line 1 ended: 2001-01-31"
    assert (
        desk("policy", "lint")
        .out.splitlines()[0]
        .endswith(": spec.exceptions[1].until: the exception ended, 2001-01-31: it has no effect any more, take it out")
    )
    assert "2, 1 ended" in desk.check("policy", "list")
    assert f"note: {path}:1:1: policy a: {ended}\n" in desk.check("apply", "--dry-run")
    explained = desk.check("policy", "explain", configs / "old.json")
    assert "  exception in line 1, until 2099-01-31: legacy:\n    ✓ /hostname equals 'old': it is 'old'\n" in explained
    assert "exception in line 1, until 2001-01-31: migration, which is over:\n    ✗ " in explained
    assert explained.endswith("  -> exempt: exception in line 1, until 2099-01-31: legacy\n")
    assert f"  -> denied: no socket ({ended})\n" in desk.check("policy", "explain", configs / "older.json")
    lines = desk.check("policy", "simulate", configs).splitlines()
    assert [line.split(maxsplit=3) for line in lines[1:4]] == [
        ["new.json", "a", "denied", "no socket"],
        ["old.json", "a", "exempt", "exception in line 1, until 2099-01-31: legacy"],
        ["older.json", "a", "denied", f"no socket ({ended})"],
    ]
    assert lines[-2].split() == ["a", "2", "0", "0", "1"]
    assert lines[-1] == "3 calls: 2 would be denied, 0 would be changed"


def test_messages_with_values_are_masked_in_explain_and_simulate(desk: Desk, tmp_path: Path) -> None:
    desk.policy("a", {"deny": [{"message": "not ${/process/env/0} of $${x}"}]})
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "c.json").write_text(json.dumps({"process": {"env": ["DB_PASSWORD=hunter22"]}}))
    explained = desk.check("policy", "explain", configs / "c.json")
    assert "  deny, 'not ${/process/env/0} of $${x}':\n" in explained
    for told in (explained, desk.check("policy", "simulate", configs)):
        assert "not DB_PASSWORD=***" in told and "of ${x}" in told and "hunter22" not in told


def test_lint_warns_where_yaml_1_1_differs(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    (tmp_path / "l.yaml").write_text("- yes\n")
    path.write_text(
        "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: a}\nspec:\n"
        "  env: {force: {DEBUG: on, TZ: 'on'}}\n  match: {image: {in: {file: l.yaml}}}\n"
    )
    result = desk("policy", "lint", path)
    assert result.status == 1
    assert result.out.splitlines()[:2] == [
        f"{tmp_path}/l.yaml:1:3: yes is the string 'yes' here, in YAML 1.2, but true to YAML 1.1: write it in quotes",
        f"{path}:5:24: on is the string 'on' here, in YAML 1.2, but true to YAML 1.1: write it in quotes",
    ]
