"""Checkpoints of what only the machine has: AppArmor's profiles and systemd's scopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.checkpoint_support import Saved, checkpoint, restore, start
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKRUN, RUNC, Runtime, fresh_id
from tests.vm.inside.test_scope import shown

pytestmark = pytest.mark.usefixtures("working_criu")
RUNTIMES = pytest.mark.parametrize(
    "program", [HOOKRUN, pytest.param(RUNC, marks=pytest.mark.release)], ids=["hookrun", "runc"]
)


def confinement(runtime: Runtime, container_id: str) -> str:
    return Path(f"/proc/{runtime.state(container_id)['pid']}/attr/current").read_text().strip()


@RUNTIMES
def test_a_profile_and_a_scope_are_there_again(
    bundle: Bundle, saved: Saved, tmp_path: Path, profile: str, program: str
) -> None:
    runtime = Runtime(program, tmp_path / "root", "--systemd-cgroup")
    name = fresh_id("ckscope")
    bundle.process["apparmorProfile"] = profile
    bundle.linux["cgroupsPath"] = f"system.slice:hr:{name}"
    bundle.linux["resources"]["pids"] = {"limit": 50}
    try:
        container_id = start(runtime, bundle.command("sleep", "1000"))
        result = checkpoint(runtime, container_id, saved)
        assert result.status == 0, result.err
        assert "ActiveState=inactive" in shown(f"hr-{name}.scope", "ActiveState")
        restore(runtime, bundle, saved, container_id=container_id)
        assert confinement(runtime, container_id) == f"{profile} (enforce)"
        properties = shown(f"hr-{name}.scope", "ActiveState", "TasksMax").splitlines()
        assert set(properties) == {"ActiveState=active", "TasksMax=50"}
        own = Path(f"/proc/{runtime.state(container_id)['pid']}/cgroup").read_text()
        assert own == f"0::/system.slice/hr-{name}.scope\n"
        assert runtime.call("delete", "--force", container_id).status == 0
        restore(runtime, bundle, saved, "--lsm-profile", "apparmor:hookrun-other", container_id=container_id)
        assert confinement(runtime, container_id) == "hookrun-other (enforce)"
    finally:
        runtime.delete_all()
