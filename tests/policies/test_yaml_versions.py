"""Words that YAML 1.1 and 1.2 take for different values, and only those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hookrun import policies
from hookrun.policies import document, yaml_versions

# The word, what it is here, what to YAML 1.1.
DIFFERENT = {
    "yes": ("the string 'yes'", "true"),
    "No": ("the string 'No'", "false"),
    "on": ("the string 'on'", "true"),
    "OFF": ("the string 'OFF'", "false"),
    "y": ("the string 'y'", "true"),
    "0660": ("660", "432"),
    "08": ("8", "the string '08'"),
    "0o7": ("7", "the string '0o7'"),
    "1:20": ("the string '1:20'", "80"),
    "190:20:30.15": ("the string '190:20:30.15'", "685230.15"),
    "8:0": ("the string '8:0'", "480"),
    "1e3": ("1000.0", "the string '1e3'"),
}
SAME = [
    *("true", "False", "null", "~", "0", "7", "-1", "+1", "0x1f", "1.5", ".5", "1.5e+3", ".inf"),
    *("1Gi", "512M", "1000-65535", "10.0.0.1", "1.25.3", "24:61", "v1", "node", "nginx:1", "Yess", "onward", "--"),
    *("2026-01-31", "2026-01-31T12:00:00Z"),
]


@pytest.mark.parametrize("word", DIFFERENT)
def test_different(word: str) -> None:
    here, older = DIFFERENT[word]
    (line,) = yaml_versions.differences("p.yaml", f"a:\n  - {word} # so\n")
    assert line.startswith(
        f"p.yaml:2:5: {word} is {here} here, in YAML 1.2, but {older} to YAML 1.1: write it in quotes"
    )
    assert yaml_versions.differences("p.yaml", f"a: ['{word}', \"{word}\"]\nb: |\n  {word}\n") == []
    (value,) = document.read("p.yaml", f"- {word}\n")[0].elements()
    assert (repr(value.value) if not isinstance(value.value, str) else f"the string {value.value!r}") == here, (
        "it is what policies get"
    )


@pytest.mark.parametrize("word", ["1_000", "0b11"])
def test_what_strict_readers_of_1_2_take_for_a_text(word: str) -> None:
    assert "but a string to strict readers of YAML 1.2" in yaml_versions.differences("p", f"a: {word}\n")[0]


def test_the_same() -> None:
    assert yaml_versions.differences("p", "".join(f"- {word}\n" for word in SAME)) == []


def test_keys_flows_documents_and_what_is_no_yaml() -> None:
    text = "on: {a: [b, yes]}\n---\n? no\n: &x off\n---\n- *x\n"
    assert [line.split(" ")[0] for line in yaml_versions.differences("p", "on: {a: [b, yes]}\n---\n? no\n: off\n")] == [
        "p:1:1:",
        "p:1:13:",
        "p:3:3:",
        "p:4:3:",
    ]
    assert yaml_versions.differences("p", text) == yaml_versions.differences("p", "a: [\n") == []
    assert yaml_versions.differences("p", "a: " + "[" * 5000) == []


@pytest.mark.parametrize(
    "path", sorted((Path(policies.__file__).parent / "library").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_library_is_the_same_to_both(path: Path) -> None:
    assert yaml_versions.differences(str(path), path.read_text()) == []
    assert json.dumps([one.value for one in document.read(str(path), path.read_text())])
