"""What packaging says of the version and of dependencies, where it has to say it again."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hookrun.wrapper import VERSION

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = sorted(re.match(r"[a-z.]+", one)[0] for one in PROJECT["dependencies"])  # type: ignore[index]

VERSIONS = [
    ("packaging/debian/changelog", r"\Ahookrun \((.*?)\)"),
    ("packaging/rpm/hookrun.spec", r"^Version: +(\S+)$"),
    ("packaging/kubernetes/chart/Chart.yaml", r"^(?:version|appVersion): (\S+)$"),
    ("packaging/kubernetes/chart/values.yaml", r"hookrun-node:(\S+)$"),
    ("packaging/kubernetes/hookrun.yaml", r"hookrun-node:(\S+)$"),
    ("packaging/kubernetes/hookrun-remove.yaml", r"hookrun-node:(\S+)$"),
    ("packaging/kubernetes/README.md", r"hookrun-node:([\d.]+)"),
    ("README.md", r"dist/hookrun[_-]([\d.]+\d)"),
    ("CHANGELOG.md", r"\A(?:.|\n)*?^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$"),  # the newest that has a date
]


@pytest.mark.parametrize(("file", "pattern"), VERSIONS)
def test_the_version_is_the_programs(file: str, pattern: str) -> None:
    found = re.findall(pattern, (CHECKOUT / file).read_text(), re.MULTILINE)
    assert found
    assert set(found) == {VERSION}


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("packaging/debian/control", r"^(?:Recommends:)? python3-([a-z.]+)"),
        ("packaging/rpm/hookrun.spec", r"^(?:Requires|Recommends): +python3-([a-z-]+)$"),
    ],
)
def test_the_packages_depend_on_what_the_program_does(file: str, pattern: str) -> None:
    text = (CHECKOUT / file).read_text()
    text = text[text.index("\nPackage: ") :] if file.endswith("control") else text
    found = {name.replace("-", ".") for name in re.findall(pattern, text, re.MULTILINE)}
    assert sorted(found) == DEPENDENCIES
