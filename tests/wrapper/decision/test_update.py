"""`update` is judged as the container's /linux/resources: by flags, by file and by stdin, here and by another runtime."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper.decision import update
from tests.runtime.cgroup_support import MIB, UNIFIED, sleeping, v1_only
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import RUNC, Result
from tests.wrapper.decision.test_gate import in_force

DENIED = {"deny": [{"when": {"field": "/linux/resources/blockIO/weight", "equals": 777}, "message": "not 777"}]}
CEILING = {"resources": {"max": {"memory": "64Mi", "cpus": 0.5, "pids": 100}}}
BEFORE = {"memory": {"limit": 32 * MIB}, "cpu": {"quota": 20000, "period": 50000}, "pids": {"limit": 50}}
ALL_BEFORE = ("--memory", "32m", "--cpu-quota", "20000", "--cpu-period", "50000", "--pids-limit", "50")


class Box:
    """A sleeping container, by hookrun's core or by another runtime, under some policies."""

    def __init__(self, place: Path, delegate: str) -> None:
        self.host = ConfiguredHost(place)
        (place / "bundle").mkdir()
        bundle = sleeping(Bundle(place / "bundle"), **BEFORE)
        file = self.host.config / "config.yaml"
        file.write_text(json.dumps({**json.loads(file.read_text()), "runtime": delegate}))
        in_force(self.host, CEILING, DENIED)
        self.id = self.host.runtime.run_detached(bundle.path)

    def reset(self) -> None:
        """Set the limits that there were in the beginning."""
        assert self.update(*ALL_BEFORE).status == 0
        assert self.limits() == {"memory": 32, "cpus": 40, "pids": 50}

    def last(self) -> dict[str, Any]:
        return self.host.lines("update")[-1]

    def update(self, *words: str, stdin: Any = None) -> Result:
        return self.host.runtime.call("update", *words, self.id, stdin=None if stdin is None else json.dumps(stdin))

    def limits(self) -> dict[str, int]:
        """Memory in MiB, CPUs in percent, and processes, as the kernel has them; -1 is no limit."""
        pid = self.host.runtime.state(self.id)["pid"]
        lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]

        def read(controller: str, name: str) -> str:
            path = next(path for _, names, path in lines if UNIFIED or controller in names.split(","))
            return Path(f"/sys/fs/cgroup/{'' if UNIFIED else controller}{path}/{name}").read_text().strip()

        if UNIFIED:
            memory, pids, (quota, period) = read("", "memory.max"), read("", "pids.max"), read("", "cpu.max").split()
        else:
            memory, pids = read("memory", "memory.limit_in_bytes"), read("pids", "pids.max")
            quota, period = read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us")
        cpus = -1 if quota in ("max", "-1") else int(quota) * 100 // int(period)
        amount = -1 if memory == "max" or int(memory) > 1 << 50 else int(memory) // MIB
        return {"memory": amount, "cpus": cpus, "pids": -1 if pids == "max" else int(pids)}


@contextmanager
def sleeping_box(delegate: str) -> Iterator[Box]:
    place = Path(tempfile.mkdtemp(prefix="hr-update-", dir="/var/tmp"))
    place.chmod(0o755)
    box = Box(place, delegate)
    yield box
    box.host.close()
    shutil.rmtree(place)


@pytest.fixture(scope="module", params=["", RUNC], ids=["core", "runc"])
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    with sleeping_box(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def own() -> Iterator[Box]:
    """One of hookrun's own core, whose policies may be exchanged."""
    with sleeping_box("") as made:
        yield made


# Flags, the same by --resources, and what the limits then are.
RAISED: list[tuple[list[str], dict[str, Any], dict[str, int]]] = [
    (["--memory", "1g"], {"memory": {"limit": 1 << 30}}, {"memory": 64}),
    (["--memory", "-1"], {"memory": {"limit": -1}}, {"memory": 64}),
    (["--memory", "48m"], {"memory": {"limit": 48 * MIB}}, {"memory": 48}),
    (["--pids-limit", "-1"], {"pids": {"limit": -1}}, {"pids": 100}),
    (["--pids-limit", "5000"], {"pids": {"limit": 5000}}, {"pids": 100}),
    (["--pids-limit", "70"], {"pids": {"limit": 70}}, {"pids": 70}),
    (["--cpu-quota", "-1"], {"cpu": {"quota": -1}}, {"cpus": 50}),
    (["--cpu-quota", "90000", "--cpu-period", "30000"], {"cpu": {"quota": 90000, "period": 30000}}, {"cpus": 50}),
    (["--cpu-period", "5000"], {"cpu": {"period": 5000}}, {"cpus": 50}),
    (["--cpu-share", "300"], {"cpu": {"shares": 300, "quota": 0, "period": 0}, "memory": {"limit": 0}}, {}),
]


@pytest.mark.parametrize(("flags", "resources", "after"), RAISED, ids=[" ".join(row[0]) for row in RAISED])
def test_ceilings_hold(
    box: Box, tmp_path: Path, flags: list[str], resources: dict[str, Any], after: dict[str, int]
) -> None:
    file = tmp_path / "resources"
    file.write_text(json.dumps(resources))
    is_capped = any(value in (64, 50, 100) for value in after.values())
    for words, stdin in ((flags, None), (["--resources", str(file)], None), (["-r", "-"], resources)):
        box.reset()
        result = box.update(*words, stdin=stdin)
        assert result.status == 0, result.err
        assert box.limits() == {"memory": 32, "cpus": 40, "pids": 50, **after}, words
        line = box.last()
        assert [decision["action"] for decision in line["decisions"]] == [
            "patched" if is_capped else "passed",
            "passed",
        ]
        assert bool(line["resources"]["patch"]) is is_capped


def test_a_field_is_denied(box: Box) -> None:
    box.reset()
    for words, stdin in (
        (["--blkio-weight", "777", "--pids-limit", "60"], None),
        (["--resources", "-"], {"blockIO": {"weight": 777}, "pids": {"limit": 60}}),
    ):
        result = box.update(*words, stdin=stdin)
        assert (result.status, box.limits()["pids"]) == (1, 50)
        assert "policy p1: not 777" in result.err
        assert box.last()["error"].startswith("policy p1: not 777")


@v1_only
def test_an_earlier_update_counts(own: Box) -> None:
    """A period by itself keeps the quota that an earlier update set."""
    own.reset()
    assert own.update("--cpu-quota", "10000", "--cpu-period", "50000").status == 0
    assert own.limits()["cpus"] == 20
    assert own.update("--cpu-period", "12500").status == 0
    assert own.limits()["cpus"] == 50


def test_wrong_values_are_still_told(own: Box) -> None:
    assert "invalid value for cpu-quota" in own.update("--cpu-quota", "x").err
    assert "EOF" in own.host.runtime.call("update", "-r", "-", own.id, stdin="").err
    assert "container does not exist" in own.host.runtime.call("update", "--memory", "1m", "nosuch").err


def test_the_update_that_was_judged_is_the_one_that_is_made(box: Box, tmp_path: Path) -> None:
    """A FIFO gives its resources once: a second reader would get others, or wait for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=(json.dumps({"pids": {"limit": 99}}),))
    writer.start()
    assert box.update("--resources", str(fifo)).status == 0
    writer.join(60)
    assert box.limits()["pids"] == 99


def test_what_can_not_be_judged_is_not_made(own: Box) -> None:
    own.reset()
    kept = own.host.runtime.root / own.id / "config.json"
    kept.rename(kept.with_name("away"))
    assert own.update("--pids-limit", "60").status == 1
    kept.with_name("away").rename(kept)
    assert own.limits()["pids"] == 50


def test_simulate_and_explain_know_updates(own: Box) -> None:
    own.reset()
    assert own.update("--pids-limit", "5000").status == 0
    simulated = own.host.hookctl("policy", "simulate").out
    assert [line.split()[1:] for line in simulated.splitlines() if line.startswith(f"{own.id} update")][-1] == [
        *("update", "p0", "changed", "/linux/resources/pids/limit")
    ]
    assert (
        "-> patched\n     replace /linux/resources/pids/limit 100"
        in own.host.hookctl("policy", "explain", own.last()["id"]).out
    )


def test_who_is_asked(own: Box) -> None:
    """A policy that is not about limits has no say, unless it names the command."""
    never = [{"when": {"field": "/process/args/0", "equals": "sleep"}, "message": "never sleep"}]
    in_force(own.host, {"deny": never}, {"match": {"command": ["create", "exec"]}, "deny": never})
    assert own.update("--memory", "40m").status == 0
    assert own.last()["decisions"] == []
    for match in ({"command": "update"}, {"command": {"notIn": ["create"]}}):
        in_force(own.host, {"match": match, "deny": never}, {})
        assert "never sleep" in own.update("--memory", "40m").err


def test_what_an_update_does_not_name_stays(own: Box) -> None:
    in_force(own.host, {"resources": {"max": {"memory": "16Mi", "pids": 10}, "default": {"cpus": 0.1}}}, {})
    before = own.limits()
    assert own.update("--cpu-share", "512").status == 0
    assert own.limits() == before
    assert own.update("--pids-limit", "11").status == 0
    assert own.limits() == {**before, "pids": 10}


@pytest.mark.parametrize(
    ("wanted", "judged", "given"),
    [
        ({"pids": {"limit": 9}}, {"pids": {"limit": 9}}, {"pids": {"limit": 9}}),
        ({"pids": {"limit": 9}}, {"pids": {"limit": 5}}, {"pids": {"limit": 5}}),
        (
            {"pids": {"limit": 9}, "memory": {"limit": 0}},
            {"pids": {"limit": 5}, "memory": {"limit": 7}},
            {"pids": {"limit": 5}, "memory": {"limit": 0}},
        ),
        (
            {"unified": {"pids.max": "max", "io.weight": "5"}},
            {"unified": {"io.weight": "5"}},
            {"unified": {"io.weight": "5"}},
        ),
        ({"devices": [{"allow": True}]}, {"devices": [{"allow": False}]}, {"devices": [{"allow": False}]}),
        ({"cpu": {"period": 5}}, {"cpu": {"period": 5, "quota": 3}}, {"cpu": {"period": 5, "quota": 3}}),
    ],
)
def test_adopted(wanted: Any, judged: Any, given: Any) -> None:
    asked = update.overlaid({}, wanted)
    assert update.adopted(wanted, asked, judged) == given
