"""The machines of later Debians: what they are, what they leave, and hookctl's own tests under their Pythons."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import generations, leaks
from tests.support.generations import Machine
from tests.support.runtimes import CHECKOUT, HOOKCTL, PATIENCE, Result

# A call of Python that compiles nothing into the checkout.
PYTEST = (
    *("env", "-C", CHECKOUT, f"PYTHONPATH={CHECKOUT}/.venv/src", "PYTHONPYCACHEPREFIX=/var/cache/python"),
    *("PYTHONDONTWRITEBYTECODE=", "python3", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
)


def told(machine: Machine, *words: str | Path, timeout: float = PATIENCE) -> Result:
    done = subprocess.run(
        machine.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.daily
@pytest.mark.parametrize("machine", ["trixie"], indirect=True)
def test_a_machine_is_of_its_release(machine: Machine) -> None:
    assert told(machine, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").out == "trixie\n"
    assert told(machine, "python3", "--version").out.startswith("Python 3.13.")
    assert told(machine, HOOKCTL, "--version").status == 0


@pytest.mark.parametrize("release", ["trixie"])
def test_a_machine_leaves_nothing(release: str, tmp_path: Path) -> None:
    before = leaks.mounts()
    with generations.running(release) as machine:
        assert told(machine, "touch", "/etc/written", tmp_path / "shared").status == 0
        left = subprocess.Popen(machine.command("sleep", "1000"), stdin=subprocess.DEVNULL)
    assert left.wait(PATIENCE) < 0
    assert (tmp_path / "shared").exists()
    assert [mount for mount in leaks.mounts() if mount not in before] == []
    with generations.running(release) as machine:
        assert told(machine, "test", "-e", "/etc/written").status == 1


def passes(machine: Machine, *words: str, timeout: float) -> None:
    done = told(machine, *PYTEST, *words, timeout=timeout)
    assert done.status == 0, done.out + done.err


@pytest.mark.daily
@pytest.mark.parametrize("machine", generations.LATER, indirect=True)
def test_policies_under_its_python(machine: Machine) -> None:
    passes(machine, "tests/policies/test_library.py", timeout=PATIENCE)


@pytest.mark.release
@pytest.mark.parametrize("machine", generations.LATER, indirect=True)
def test_hookctl_under_its_python(machine: Machine) -> None:
    passes(machine, "tests/policies", "tests/hooks", "tests/wrapper/admin", timeout=3600)
