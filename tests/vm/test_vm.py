"""The suites that need what this machine lacks: cgroup v2 alone, systemd, AppArmor, a dockerd under systemd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vm import machine

pytestmark = pytest.mark.vm
# What the rest of the tests need that reads cgroup v1's files, or another engine, stays outside.
SUITES = (
    "tests/vm/inside",
    "tests/runtime/test_lifecycle.py",
)
# The same again with systemd making every cgroup.
BY_SYSTEMD = ("tests/runtime/test_lifecycle.py",)
PYTEST = ".venv/bin/python -m pytest -q -p no:cacheprovider --color=no"


def show(name: str, outcome: machine.Outcome) -> None:
    """Keep the console as a CI artefact, and print its end."""
    place = Path(os.environ.get("CI_ARTEFACTS", "artefacts"))
    place.mkdir(parents=True, exist_ok=True)
    (place / f"vm-{name}.log").write_text(outcome.console)
    print("\n".join(outcome.console.splitlines()[-60:]))


def test_the_suites_in_the_virtual_machine() -> None:
    script = f"{PYTEST} {' '.join(SUITES)} && HOOKRUN_TEST_DRIVER=systemd {PYTEST} {' '.join(BY_SYSTEMD)}"
    outcome = machine.run(script, seconds=2400)
    show("inside", outcome)
    assert outcome.status == 0
