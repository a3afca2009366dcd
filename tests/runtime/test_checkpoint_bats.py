"""runc's own tests of checkpoints (tests/integration/checkpoint.bats), by name, with hookrun and with Debian's runc.

Those that this runc does not pass, or has not, are not here: --manage-cgroups-mode=ignore, network devices. "--pre-dump and
restore" and "--lazy-pages and restore" are in test_checkpoint_migration.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.runtime.checkpoint_support import Console, Saved, checkpoint, restore, silently
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime, fresh_id

pytestmark = pytest.mark.usefixtures("working_criu")


def in_terminal(runtime: Runtime, bundle: Bundle, console: Console) -> str:
    """`runc run -d --console-socket` of a shell; returns the id."""
    bundle.process["terminal"] = True
    bundle.command("sh")
    container_id = runtime._note(fresh_id("ckt"))
    words = ["run", "--detach", "--bundle", str(bundle.path), "--console-socket", str(console.place), container_id]
    result = silently(runtime, *words)
    assert result.status == 0, result.err
    console.accept()
    return container_id


def there_and_back(runtime: Runtime, bundle: Bundle, saved: Saved, console: Console, container_id: str) -> None:
    """One checkpoint and restore of simple_cr."""
    result = checkpoint(runtime, container_id, saved)
    assert result.status == 0, result.err
    assert runtime.call("state", container_id).status == 1
    restore(runtime, bundle, saved, "--console-socket", str(console.place), container_id=container_id)
    console.accept()
    assert runtime.state(container_id)["status"] == "running"
    console.answer("echo still $((20 + 1))", "still 21")


def _unchanged(bundle: Bundle) -> None:
    pass


def _symlink(bundle: Bundle) -> None:
    (bundle.rootfs / "real/conf").mkdir(parents=True)
    (bundle.rootfs / "conf").symlink_to("/real/conf")
    bundle.add_mount("/conf", "", ".", "bind")


def _cgroupns(bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "cgroup"})


@pytest.mark.parametrize(
    ("change", "flags", "times"),
    [(_unchanged, [], 2), (_symlink, [], 1), (_unchanged, ["--debug"], 1), (_cgroupns, [], 1)],
    ids=["plain", "bind mount, destination is symlink", "with --debug", "cgroupns"],
)
def test_checkpoint_and_restore(
    either: Runtime,
    bundle: Bundle,
    saved: Saved,
    console: Console,
    change: Callable[[Bundle], None],
    flags: list[str],
    times: int,
) -> None:
    change(bundle)
    either.globals += flags
    container_id = in_terminal(either, bundle, console)
    for _ in range(times):
        there_and_back(either, bundle, saved, console, container_id)


def test_pre_dump_with_a_bad_parent_path(either: Runtime, bundle: Bundle, saved: Saved, console: Console) -> None:
    container_id = in_terminal(either, bundle, console)
    for parent in (str(bundle.path / "parent"), "./parent"):
        result = checkpoint(either, container_id, saved, "--parent-path", parent)
        assert result.status == 1
        assert "--parent-path" in result.err
    assert either.state(container_id)["status"] == "running"


def test_external_network_namespace(either: Runtime, bundle: Bundle, saved: Saved, console: Console) -> None:
    name = fresh_id("ckns")
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    try:
        path = f"/run/netns/{name}"
        next(entry for entry in bundle.linux["namespaces"] if entry["type"] == "network")["path"] = path
        container_id = in_terminal(either, bundle, console)
        there_and_back(either, bundle, saved, console, container_id)
        assert os.stat(f"/proc/{either.state(container_id)['pid']}/ns/net").st_ino == os.stat(path).st_ino
        assert either.call("delete", "--force", container_id).status == 0
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)


def test_container_specific_criu_config(either: Runtime, bundle: Bundle, saved: Saved, console: Console) -> None:
    config = bundle.path / "criu.conf"
    config.write_text("log-file=other.log\n")
    bundle.config["annotations"] = {"org.criu.config": str(config)}
    container_id = in_terminal(either, bundle, console)
    assert checkpoint(either, container_id, saved).status == 0
    assert (saved.work / "other.log").exists()
    assert not (saved.work / "dump.log").exists()
    (saved.work / "other.log").unlink()
    restore(either, bundle, saved, "--console-socket", str(console.place), container_id=container_id)
    console.accept()
    assert (saved.work / "other.log").exists()


def test_nested_bind_mounts(either: Runtime, bundle: Bundle, saved: Saved, console: Console) -> None:
    for name in ("bind1", "bind2"):
        (bundle.path / name).mkdir()
    bundle.add_mount("/test", "bind", str(bundle.path / "bind1"), "rw", "bind")
    bundle.add_mount("/test/for/nested", "bind", str(bundle.path / "bind2"), "rw", "bind")
    container_id = in_terminal(either, bundle, console)
    assert checkpoint(either, container_id, saved).status == 0
    # What the mounts lie on is gone, and made anew.
    (bundle.path / "bind1/for/nested").rmdir()
    (bundle.path / "bind1/for").rmdir()
    restore(either, bundle, saved, "--console-socket", str(console.place), container_id=container_id)
    console.accept()
    assert either.state(container_id)["status"] == "running"
    assert (bundle.path / "bind1/for/nested").is_dir()


def test_checkpoint_restore_and_exec(hookrun: Runtime, bundle: Bundle, saved: Saved, console: Console) -> None:
    """Debian's runc fails here: what it brings by `exec` is not in the time namespace of what CRIU has restored."""
    container_id = in_terminal(hookrun, bundle, console)
    there_and_back(hookrun, bundle, saved, console, container_id)
    pid = hookrun.exec(container_id, "sh", "-c", "sleep 1000 < /dev/null > /dev/null 2>&1 & echo $!").out.strip()
    there_and_back(hookrun, bundle, saved, console, container_id)
    assert hookrun.exec(container_id, "ls", "-d", f"/proc/{pid}").status == 0
