"""AppArmor profiles of containers and of `exec`."""

from __future__ import annotations

import pytest

from tests.runtime.parity import told
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime


def test_a_container_is_confined(bundle: Bundle, either: Runtime, profile: str) -> None:
    (bundle.rootfs / "secret").write_text("x")
    bundle.process["apparmorProfile"] = profile
    bundle.shell("cat /proc/self/attr/current; cat /secret; echo $?")
    result = either.run(bundle.path)
    assert result.status == 0, result.err
    assert result.out.splitlines() == [f"{profile} (enforce)", "1"]


def test_exec_is_confined(bundle: Bundle, either: Runtime, profile: str) -> None:
    container_id = either.run_detached(bundle.command("sleep", "1000").path)
    result = either.call("exec", "--apparmor", profile, container_id, "cat", "/proc/self/attr/current")
    assert result.out == f"{profile} (enforce)\n", result.err


def test_exec_has_the_containers_profile_if_it_has_none_of_its_own(
    bundle: Bundle, either: Runtime, profile: str
) -> None:
    bundle.process["apparmorProfile"] = profile
    container_id = either.run_detached(bundle.command("sleep", "1000").path)
    assert either.exec(container_id, "cat", "/proc/self/attr/current").out == f"{profile} (enforce)\n"


EXEC_OPTIONS = {
    "a profile that is not loaded": ("--apparmor", "no-such-profile"),
    "no profile at all": ("--apparmor", ""),
    "unconfined": ("--apparmor", "unconfined"),
    "a label without SELinux": ("--process-label", "system_u:system_r:container_t:s0"),
    "a label that is none": ("--process-label", "nonsense"),
}


@pytest.mark.parametrize("name", EXEC_OPTIONS)
def test_exec_says_what_runc_says(bundle: Bundle, hookrun: Runtime, runc: Runtime, profile: str, name: str) -> None:
    bundle.process["apparmorProfile"] = profile
    bundle.command("sleep", "1000")
    seen = []
    for runtime in (hookrun, runc):
        container_id = runtime.run_detached(bundle.path)
        result = runtime.call("exec", *EXEC_OPTIONS[name], container_id, "cat", "/proc/self/attr/current")
        seen.append(told(result, container_id))
    assert seen[0] == seen[1]


def test_a_profile_that_is_not_loaded(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.process["apparmorProfile"] = "no-such-profile"
    bundle.write()
    results = [runtime.run(bundle.path) for runtime in (hookrun, runc)]
    assert results[0].status == results[1].status == 1
    assert "no such file or directory" in results[0].err
