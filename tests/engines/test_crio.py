"""CRI-O's other calls, replayed: what it asks of a runtime while a container runs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import Bundle
from tests.support.conmon import CONMON, Crio
from tests.support.runtimes import HOOKRUN, fresh_id, wait_for

pytestmark = [
    pytest.mark.skipif(not CONMON, reason="needs conmon"),
    pytest.mark.matrix(engine="CRI-O, replayed"),
]


class Box:
    """A running container of CRI-O's."""

    def __init__(self, crio: Crio, bundle: Bundle) -> None:
        self.id = fresh_id("crio")
        self.bundle = bundle.shell("trap 'exit 3' TERM; touch /up; while :; do sleep 0.1; done")
        self.crio = crio
        self.pid = crio.create(self.id, self.bundle, HOOKRUN)
        self.check("start", self.id)
        wait_for((bundle.rootfs / "up").exists, "the container to be up")

    def check(self, *words: str, stdin: str = "") -> str:
        return self.crio.check(HOOKRUN, *words, stdin=stdin)

    @property
    def status(self) -> str:
        found: str = json.loads(self.check("state", self.id))["status"]
        return found

    def cgroup(self, controller: str) -> Path:
        lines = Path(f"/proc/{self.pid}/cgroup").read_text().splitlines()
        path = next(line.split(":", 2)[2] for line in lines if controller in line.split(":")[1].split(","))
        return Path(f"/sys/fs/cgroup/{controller}{path}")


@pytest.fixture
def box(bundle: Bundle) -> Iterator[Box]:
    place = Path(tempfile.mkdtemp(prefix="hrcrio-", dir="/var/tmp"))
    made = Box(Crio(place), bundle)
    conmon = int((bundle.path / "conmon-pidfile").read_text())
    yield made
    made.crio.delete(made.id, HOOKRUN)
    wait_for(lambda: not Path(f"/proc/{conmon}").exists(), "conmon's end")
    subprocess.run(["rm", "-rf", "--one-file-system", place], stdin=subprocess.DEVNULL, check=True, timeout=60)


def test_exec_of_a_stream(box: Box, tmp_path: Path) -> None:
    process = tmp_path / "process"
    process.write_text(json.dumps({**box.bundle.process, "args": ["sh", "-c", "cat; echo err >&2; exit 9"]}))
    assert box.crio.call(HOOKRUN, "exec", "--process", str(process), box.id, stdin="through\n") == (
        9,
        "through\n",
        "err\n",
    )


@pytest.mark.matrix(feature="limits")
@pytest.mark.skipif(not Path("/sys/fs/cgroup/pids").exists(), reason="needs cgroup v1")
def test_update(box: Box) -> None:
    box.check("update", "--resources", "-", box.id, stdin=json.dumps({"pids": {"limit": 55}, "cpu": {"shares": 512}}))
    assert (box.cgroup("pids") / "pids.max").read_text() == "55\n"
    assert (box.cgroup("cpu") / "cpu.shares").read_text() == "512\n"


def test_pause_resume_and_signals(box: Box) -> None:
    box.check("pause", box.id)
    assert box.status == "paused"
    box.check("resume", box.id)
    assert box.status == "running"
    box.check("kill", "-a", box.id, "9")
    wait_for(lambda: box.status == "stopped", "the container's end")


def test_a_command_that_is_not_there(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such file or directory"):
        Crio(tmp_path).create(fresh_id("crio"), bundle.command("/nosuch"), HOOKRUN)
