"""Containers that an older version started are today's version's too: it reads what that one wrote."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper import VERSION
from tests.packaging.states import keep
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, wait_for

RELEASES = sorted(path.name for path in keep.HERE.iterdir() if (path / "state.json").exists())
# What no two containers share; all else stays as the older version wrote it.
OF_THE_CONTAINER = ("id", "init_process_pid", "init_process_start", "cgroup_paths", "namespace_paths")


def test_this_version_s_state_is_kept() -> None:
    assert VERSION in RELEASES, "run: .venv/bin/python -m tests.packaging.states.keep"


@pytest.fixture(params=RELEASES)
def adopted(request: pytest.FixtureRequest, bundle: Bundle, hookrun: Runtime) -> str:
    """The id of a running container whose files are those of an older version."""
    container_id = hookrun.run_detached(keep.example(bundle).path)
    directory = hookrun.root / container_id
    running = json.loads((directory / "state.json").read_text())
    for name in keep.FILES:
        kept = json.loads((keep.HERE / request.param / name).read_text())
        (directory / name).write_text(json.dumps(kept if name == "config.json" else with_own(kept, running)))
    return container_id


def with_own(kept: dict[str, Any], running: dict[str, Any]) -> dict[str, Any]:
    """A kept state, for the container that really runs; the pid 0 of a container in the making stays 0."""
    config = kept["config"] | {name: running["config"][name] for name in ("rootfs", "labels")}
    return kept | {name: running[name] for name in OF_THE_CONTAINER if kept[name]} | {"config": config}


def test_it_lives_on(adopted: str, hookrun: Runtime, bundle: Bundle) -> None:
    state = hookrun.state(adopted)
    assert (state["status"], state["bundle"], state["annotations"]) == (
        "running",
        str(bundle.path),
        {"org.example.kept": "yes"},
    )
    assert [entry["status"] for entry in json.loads(hookrun.call("list", "--format", "json").out)] == ["running"]
    assert hookrun.exec(adopted, "echo", "inside").out == "inside\n"
    assert json.loads(hookrun.call("ps", "--format", "json", adopted).out) == [state["pid"]]
    assert '"pids"' in hookrun.call("events", "--stats", adopted).out
    assert hookrun.call("update", "--pids-limit", "30", adopted).status == 0
    for command, status in (("pause", "paused"), ("resume", "running")):
        assert hookrun.call(command, adopted).status == 0
        assert hookrun.state(adopted)["status"] == status
    assert hookrun.call("kill", adopted, str(signal.SIGKILL.value)).status == 0
    hookrun.wait_for_status(adopted, "stopped")
    assert hookrun.call("delete", adopted).status == 0
    assert_nothing_is_left(adopted, hookrun)


def test_it_is_cleaned_up_after_a_crash(adopted: str, hookrun: Runtime) -> None:
    pid = hookrun.state(adopted)["pid"]
    (hookrun.root / adopted / "state.json").write_text("{")
    assert hookrun.call("delete", "--force", adopted).status == 0
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the process's end")
    assert_nothing_is_left(adopted, hookrun)


def assert_nothing_is_left(container_id: str, hookrun: Runtime) -> None:
    assert not Path(hookrun.root / container_id).exists()
    assert leaks.cgroups(container_id) == []
