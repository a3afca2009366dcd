"""What systemd knows of a container's scope."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.bundles import Bundle
from tests.support.configured import configured_host
from tests.support.runtimes import HOOKRUN, Runtime, fresh_id, wait_for


def shown(unit: str, *properties: str) -> str:
    """What `systemctl show` says of a unit."""
    command = ["systemctl", "show", unit, "--property", ",".join(properties)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120).stdout


def test_a_scope_is_a_scope(bundle: Bundle, tmp_path: Path) -> None:
    """systemd knows the container's scope, with its description, slice and properties by annotation."""
    runtime = Runtime(HOOKRUN, tmp_path / "root", "--systemd-cgroup")
    container_id = fresh_id("scope")
    bundle.linux["cgroupsPath"] = f"system.slice:hr:{container_id}"
    bundle.config["annotations"] = {"org.systemd.property.TimeoutStopUSec": "uint64 123456789"}
    bundle.command("sleep", "1000")
    unit = f"hr-{container_id}.scope"
    try:
        runtime.run_detached(bundle.path, container_id=container_id)
        lines = shown(unit, "Description", "Slice", "TimeoutStopUSec", "Delegate", "ActiveState").splitlines()
        assert set(lines) == {
            f"Description=libcontainer container {container_id}",
            "Slice=system.slice",
            "ActiveState=active",
            "Delegate=yes",
            "TimeoutStopUSec=2min 3.456789s",
        }
        assert runtime.call("delete", "--force", container_id).status == 0
        wait_for(lambda: "ActiveState=inactive" in shown(unit, "ActiveState"), "the scope's end")
    finally:
        runtime.delete_all()


def test_a_kill_for_want_of_memory_is_noted_though_the_scope_is_gone(bundle: Bundle) -> None:
    limit = 50 << 20
    bundle.linux["resources"] = {"memory": {"limit": limit, "swap": limit}}
    bundle.shell("x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr '\\0' x)")
    with configured_host() as host:
        runtime = Runtime(host.launcher, host.runtime.root, "--systemd-cgroup")
        container_id = fresh_id("harm")
        bundle.linux["cgroupsPath"] = f"system.slice:hr:{container_id}"
        try:
            runtime.run_detached(bundle.write().path, container_id=container_id)
            runtime.wait_for_status(container_id, "stopped")
            unit = f"hr-{container_id}.scope"
            wait_for(lambda: "ActiveState=active" not in shown(unit, "ActiveState"), "the scope's end")
            assert runtime.call("delete", container_id).status == 0
            assert host.lines("delete")[-1]["harm"] == {"oom_kills": 1, "memory_limit": limit}
        finally:
            runtime.delete_all()
