"""The suites that need what this machine lacks: systemd, AppArmor, cgroup v2 alone, every controller of v1."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.vm import machine

pytestmark = pytest.mark.vm
PYTEST = ".venv/bin/python -m pytest -q -p no:cacheprovider --color=no --durations=15"
V1 = "systemd.unified_cgroup_hierarchy=0"
# The suites whose outcome the version of cgroups, its driver, systemd or a security module can change: what they look at
# lies in a cgroup, is a unit of systemd's, ends by a cgroup's freezer, or is written by AppArmor. The other suites see the
# same kernel interfaces here and there; with --all they run in here too.
ON_V2 = ("cgroups_limits", "cgroups_paths", "cgroups_rare", "cgroups_v2", "events", "lifecycle", "lsm", "rootless")
ON_V2_BY_SYSTEMD = ("cgroups_limits", "cgroups_paths", "cgroups_systemd", "events", "update")
# Moving a container's memory takes a kernel that tracks what is written (soft-dirty), and a root that may enlarge pipes.
MOVING = tuple(
    f"test_checkpoint_migration.py::{name}[hookrun]" for name in ("test_a_chain_of_pre_dumps", "test_lazy_pages")
)
# The rows of these that mount or join cgroups.
CGROUP_ROWS = ("mounts_parity", "namespace_parity", "placement")
# Judged without systemd alone: with it, Debian's runc warns of devices and scopes among what its containers say.
JUDGED_ONCE = ("mounts_parity", "namespace_parity", "rootfs_parity", "seccomp")
# On v1, what the host of the tests has no hierarchies for, and what systemd has properties for.
ON_V1 = ("cgroups_limits", "cgroups_rare")
ON_V1_BY_SYSTEMD = ("cgroups_limits", "cgroups_paths", "events")


def files(*names: str, before: str = "") -> str:
    """The suites of these names as words for pytest."""
    return " ".join(f"{before}tests/runtime/test_{name}.py" for name in names)


def all_of(*commands: str) -> str:
    """A script that runs every command, and fails if one did."""
    return "status=0\n" + "".join(f"{command} || status=1\n" for command in commands) + "exit $status\n"


def show(name: str, outcome: machine.Outcome) -> None:
    """Keep the console as a CI artefact, and print its end."""
    place = Path(os.environ.get("CI_ARTEFACTS", "artefacts"))
    place.mkdir(parents=True, exist_ok=True)
    (place / f"vm-{name}.log").write_text(outcome.console)
    # CI shows the end of what a test prints: of each suite, what went wrong in it.
    print("\n".join(re.findall(r"^=+ FAILURES =+$.*?(?=^=+ )", outcome.console, re.MULTILINE | re.DOTALL)))
    print("\n".join(outcome.console.splitlines()[-60:]))


def test_the_suites_on_cgroup_v2(everything: bool) -> None:
    if everything:
        drivers = ["tests/runtime", f"tests/runtime {files(*JUDGED_ONCE, before='--ignore=')}"]
    else:
        moving = " ".join(f"tests/runtime/{name}" for name in MOVING)
        drivers = [files(*ON_V2), f"{files(*ON_V2_BY_SYSTEMD)} {moving}"]
    rows = f"{PYTEST} {files(*CGROUP_ROWS)} -k cgroup"
    suites = f"sh tests/vm/suites.sh '{drivers[0]}' '{drivers[1]}'"
    inside = f"{PYTEST} {'--all' if everything else ''} tests/vm/inside"
    outcome = machine.run(all_of(inside, rows, suites), seconds=3000)
    show("v2", outcome)
    assert outcome.status == 0


@pytest.mark.release
def test_the_suites_on_cgroup_v1() -> None:
    """One driver after the other: on v1 systemd, when a scope ends, takes empty cgroups away that are not its own."""
    by_itself = f"{PYTEST} tests/vm/inside/test_huge_pages.py {files(*ON_V1)}"
    by_systemd = f"HOOKRUN_TEST_DRIVER=systemd {PYTEST} {files(*ON_V1_BY_SYSTEMD)}"
    outcome = machine.run(all_of(by_itself, by_systemd), seconds=1800, kernel=V1)
    show("v1", outcome)
    assert outcome.status == 0
