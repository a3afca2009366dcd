"""`events`, `ps`: their output with hookrun and with runc."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.runtime.cgroup_support import MIB, UNIFIED, sleeping
from tests.support.bundles import Bundle
from tests.support.runtimes import PATIENCE, Runtime

# Fields of a counter that is left out where it is zero, so that whether they are there depends on the moment.
TRANSIENT = {
    "cpu.usage.total",
    "cpu.throttling.periods",
    "cpu.throttling.throttledPeriods",
    "cpu.throttling.throttledTime",
    "memory.cache",
    "memory.usage.usage",
    "memory.kernelTCP.usage",
    "memory.kernelTCP.max",
}


def stats(runtime: Runtime, container: str) -> dict[str, Any]:
    result = runtime.call("events", "--stats", container)
    assert result.status == 0, result.err
    event: dict[str, Any] = json.loads(result.out)
    assert event["type"] == "stats"
    assert event["id"] == container
    assert result.out.endswith("}\n")
    data: dict[str, Any] = event["data"]
    return data


def shape(value: Any, place: str = "") -> dict[str, str]:
    """Every leaf's place and type."""
    if not isinstance(value, dict):
        return {} if place in TRANSIENT else {place: type(value).__name__}
    found = {place: "dict"} if not value else {}
    for name, item in value.items():
        found |= shape(item, f"{place}.{name}".lstrip("."))
    return found


def test_stats_have_the_form_of_runc(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    sleeping(
        bundle, memory={"limit": 64 * MIB, "swap": 64 * MIB}, pids={"limit": 20}, cpu={"quota": 50000, "cpus": "0"}
    )
    ours = stats(hookrun, hookrun.run_detached(bundle.path))
    theirs = stats(runc, runc.run_detached(bundle.path))
    assert list(ours) == list(theirs)
    ours["cpu"].pop("throttling")
    theirs["cpu"].pop("throttling")
    ours["blkio"], theirs["blkio"] = {}, {}
    if UNIFIED:
        # Pressure and the peak are told of since runc 1.2.
        assert ours["cpu"].pop("psi").keys() == ours["memory"].pop("psi").keys() == {"some", "full"}
        assert ours["memory"]["usage"].pop("max") > 0
    assert shape(ours) == shape(theirs)
    assert ours["cpuset"] == theirs["cpuset"]
    assert ours["pids"]["limit"] == theirs["pids"]["limit"] == 20
    assert ours["memory"]["usage"]["limit"] == theirs["memory"]["usage"]["limit"] == 64 * MIB
    assert list(ours["memory"]["raw"]) == list(theirs["memory"]["raw"])


def test_stats_count(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.shell("head -c 30000000 /dev/zero | md5sum > /dev/null; sleep 1000 & exec sleep 1000")
    container = hookrun.run_detached(bundle.path)
    before = stats(hookrun, container)
    assert before["memory"]["raw"]["pgfault" if UNIFIED else "total_pgpgin"] > 0
    assert before["pids"]["current"] >= 1
    assert before["cpu"]["usage"]["total"] > 0
    if not UNIFIED:
        assert sum(before["cpu"]["usage"]["percpu"]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "0s"], "duration interval must be greater than 0"),
        (["--interval", "-1s"], "duration interval must be greater than 0"),
    ],
)
def test_bad_interval(arguments: list[str], message: str, bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.create(bundle.path)
    result = either.call("events", *arguments, container)
    assert result.status == 1
    assert message in result.err


def test_events_of_a_container_that_has_ended(bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.path)
    either.wait_for_status(container, "stopped")
    result = either.call("events", "--stats", container)
    assert result.status == 1
    assert f"container with id {container} is not running" in result.err


@contextlib.contextmanager
def stream(runtime: Runtime, container: str, interval: str) -> Iterator[subprocess.Popen[str]]:
    """`events` while it runs."""
    command = [runtime.program, *runtime.globals, "events", "--interval", interval, container]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_stream_prints_statistics_and_ends_with_the_container(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    with stream(either, container, "50ms") as process:
        assert process.stdout is not None
        for _ in range(3):
            event = json.loads(process.stdout.readline())
            assert event["type"] == "stats"
            assert event["data"]["pids"]["current"] == 1
        assert either.call("delete", "--force", container).status == 0
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


def test_stream_tells_of_a_process_killed_for_want_of_memory(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle, memory={"limit": 24 * MIB, "swap": 24 * MIB})
    container = either.run_detached(bundle.path)
    with stream(either, container, "50ms") as process:
        assert process.stdout is not None
        # The listener is there before the first statistics are printed.
        assert json.loads(process.stdout.readline())["type"] == "stats"
        either.exec(container, "sh", "-c", "tail /dev/zero")
        event = {"type": ""}
        while event["type"] != "oom":
            event = json.loads(process.stdout.readline())
        assert event == {"type": "oom", "id": container}


def test_ps_shows_the_containers_processes_alone(bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    pid = either.state(container)["pid"]
    result = either.call("ps", container)
    heading, *lines = result.out.splitlines()
    assert heading.split()[:3] == ["UID", "PID", "PPID"]
    assert len(lines) == 1
    assert lines[0].split()[1] == str(pid)
    assert "sleep 1000" in lines[0]
    result = either.call("ps", container, "-o", "pid,comm")
    assert result.out.splitlines()[0].split() == ["PID", "COMMAND"]
    assert either.call("ps", "--format", "json", container).out == f"[{pid}]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{id}", "-o", "comm"], "couldn't find PID field in ps output"),
        (["{id}", "--nosuch"], "exit status 1: "),
        (["--format", "xml", "{id}"], "invalid format option"),
    ],
)
def test_ps_refusals(arguments: list[str], message: str, bundle: Bundle, either: Runtime) -> None:
    sleeping(bundle)
    container = either.run_detached(bundle.path)
    result = either.call("ps", *(argument.format(id=container) for argument in arguments))
    assert result.status == 1
    assert message in result.err
