"""What the kernel did to a container for want of memory or pids: noted at `delete`, and what `trace show` begins with."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost, configured_host
from tests.support.runtimes import fresh_id, wait_for

MEBIBYTE = 1 << 20
_EATS = "x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' x)"
_FORKS = "for n in 1 2 3 4 5 6 7 8 9; do sleep 100 & done"


@pytest.fixture(scope="module")
def host() -> Iterator[ConfiguredHost]:
    with configured_host() as host:
        yield host


def last(host: ConfiguredHost, command: str) -> dict[str, Any]:
    return host.lines(command)[-1]


def limited(bundle: Bundle, script: str) -> Bundle:
    """A container of 50 MiB and 8 processes, in a cgroup of its own."""
    bundle.linux["cgroupsPath"] = f"/{fresh_id('harm')}"
    memory = {"limit": 50 * MEBIBYTE, "swap": 50 * MEBIBYTE}
    bundle.linux["resources"] = {**bundle.linux.get("resources", {}), "memory": memory, "pids": {"limit": 8}}
    return bundle.shell(script)


def test_a_container_that_the_kernel_killed(host: ConfiguredHost, bundle: Bundle) -> None:
    name = host.runtime.create(limited(bundle, f"{_EATS}; sleep 100").path)
    host.runtime.start(name)
    host.runtime.wait_for_status(name, "stopped")
    assert host.runtime.call("delete", name).status == 0
    line = last(host, "delete")
    assert line["harm"] == {"oom_kills": 1, "memory_limit": 50 * MEBIBYTE}
    shown = host.hookctl("trace", "show", name).out.splitlines()
    assert shown[0] == f"ended      killed by the kernel: out of memory (limit 50 MiB); deleted by call {line['id']}"
    of_the_delete = host.hookctl("trace", "show", line["id"]).out.splitlines()
    assert of_the_delete[0] == "ended      killed by the kernel: out of memory (limit 50 MiB)"
    listed = host.hookctl("trace", "list", "--command", "delete").out.splitlines()
    assert listed[-1].endswith("killed by the kernel: out of memory (limit 50 MiB)")
    assert json.loads(host.hookctl("trace", "show", "--json", name).out)["harm"] == line["harm"]


def test_a_container_whose_cgroups_were_gone_before(host: ConfiguredHost, bundle: Bundle) -> None:
    """As systemd removes a scope with its last process. The kernel's log remembers, of this container alone."""
    for script, harm in (
        (f"{_EATS}; sleep 100", {"oom_kills": 1, "memory_limit": 50 * MEBIBYTE}),
        ("exit 0", {}),
    ):
        name = fresh_id("gone")
        limited(bundle, script).linux["cgroupsPath"] = "/hr-harm-again"
        host.runtime.create(bundle.write().path, container_id=name)
        host.runtime.start(name)
        host.runtime.wait_for_status(name, "stopped")
        for path in json.loads((host.runtime.root / name / "state.json").read_text())["cgroup_paths"].values():
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)
        assert host.runtime.call("delete", name).status == 0
        assert last(host, "delete")["harm"] == harm


def test_a_damaged_config_does_not_keep_such_a_container(host: ConfiguredHost, bundle: Bundle) -> None:
    name = host.runtime.create(limited(bundle, f"{_EATS}; sleep 100").path)
    host.runtime.start(name)
    host.runtime.wait_for_status(name, "stopped")
    for path in json.loads((host.runtime.root / name / "state.json").read_text())["cgroup_paths"].values():
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
    (host.runtime.root / name / "config.json").write_text("{")
    assert host.runtime.call("delete", name).status == 0
    assert last(host, "delete")["harm"] == {"oom_kills": 1, "memory_limit": 0}


def test_run_knows_the_exit_status_too(host: ConfiguredHost, bundle: Bundle) -> None:
    done = host.runtime.run(limited(bundle, _EATS).path)
    assert done.status == 137
    line = last(host, "run")
    shown = host.hookctl("trace", "show", line["id"]).out
    assert shown.startswith("ended      killed by the kernel: out of memory (limit 50 MiB)\n")
    assert "exit status 137 (128 + 9, SIGKILL)" in shown


def test_the_limit_on_processes(host: ConfiguredHost, bundle: Bundle) -> None:
    name = host.runtime.create(limited(bundle, f"{_FORKS}; sleep 100").path)
    host.runtime.start(name)
    wait_for(lambda: host.runtime.state(name)["status"] == "stopped", "sh to give up")
    assert host.runtime.call("delete", name).status == 0
    line = last(host, "delete")
    assert (line["harm"]["forks_refused"] > 0, line["harm"]["pids_limit"]) == (True, 8)
    shown = host.hookctl("trace", "show", name).out
    assert shown.startswith(
        f"ended      {line['harm']['forks_refused']} forks refused by the kernel: too many processes (limit 8)"
    )


def test_a_container_that_came_to_no_harm(host: ConfiguredHost, bundle: Bundle) -> None:
    assert host.runtime.run(limited(bundle, "exit 7").path).status == 7
    line = last(host, "run")
    assert line["harm"] == {}
    assert "ended " not in host.hookctl("trace", "show", line["id"]).out
