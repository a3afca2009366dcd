"""config-linux.md "Namespaces" and "User namespace mappings": new, joined and missing ones, as under runc."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.parity import compare
from tests.support.bundles import Bundle
from tests.support.runtimes import Result, Runtime, wait_for

FILES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
    "user": "user",
}


def own_links(bundle: Bundle, runtime: Runtime) -> dict[str, str]:
    """The namespaces that a container finds itself in."""
    bundle.shell("for n in " + " ".join(FILES.values()) + "; do readlink /proc/self/ns/$n; done")
    result = runtime.run(bundle.path)
    assert result.status == 0, result.err
    return dict(zip(FILES, result.out.split(), strict=True))


def host_links() -> dict[str, str]:
    import os

    return {kind: os.readlink(f"/proc/self/ns/{name}") for kind, name in FILES.items()}


@pytest.fixture
def other() -> Iterator[int]:
    """A process in namespaces of its own, to be joined."""
    process = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--time",
            "sh",
            "-c",
            "hostname other; exec sleep 300",
        ],
        stdin=subprocess.DEVNULL,
    )

    def child() -> int:
        found = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return int(found.stdout.split()[0]) if found.stdout.split() else 0

    wait_for(lambda: child() != 0, "the process to join")
    pid = child()
    wait_for(lambda: open(f"/proc/{pid}/comm").read().strip() == "sleep", "it to settle")
    yield pid
    subprocess.run(["kill", "-9", str(pid)], stdin=subprocess.DEVNULL, check=False)
    process.wait(60)


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time"])
def test_a_new_namespace_is_new(bundle: Bundle, hookrun: Runtime, kind: str) -> None:
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": kind}]
    bundle.config.pop("hostname")
    mine, hosts = own_links(bundle, hookrun), host_links()
    assert {name for name in FILES if mine[name] != hosts[name]} == {"mount", kind}


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_a_namespace_is_joined_by_its_path(bundle: Bundle, either: Runtime, other: int, kind: str) -> None:
    import os

    path = f"/proc/{other}/ns/{FILES[kind]}"
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": kind, "path": path}]
    bundle.config.pop("hostname")
    assert own_links(bundle, either)[kind] == os.readlink(path)


def test_a_time_namespace_is_joined_by_its_path(bundle: Bundle, hookrun: Runtime, other: int) -> None:
    import os

    path = f"/proc/{other}/ns/time"
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": "time", "path": path}]
    bundle.config.pop("hostname")
    assert own_links(bundle, hookrun)["time"] == os.readlink(path)


def test_time_offsets(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5}, "monotonic": {"secs": 2000}}
    bundle.shell("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets")
    result = hookrun.run(bundle.path)
    assert result.status == 0, result.err
    uptime, *offsets = result.out.splitlines()
    assert int(uptime) > 1000000
    assert [line.split() for line in offsets] == [["monotonic", "2000", "0"], ["boottime", "1000000", "5"]]


def newborn_first(runtime: Runtime) -> Runtime:
    """clone3 comes back late to its caller: whoever it makes is the first of the two to run."""
    slowed = Runtime("/usr/bin/strace", runtime.root)
    slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", "inject=clone3:delay_exit=300ms"]
    slowed.globals = [*slow, runtime.program, *runtime.globals]
    return slowed


@pytest.mark.parametrize("kind", ["network", "pid", "time"])
def test_the_process_may_run_before_the_one_that_made_it(
    bundle: Bundle, hookrun: Runtime, other: int, kind: str
) -> None:
    bundle.without_namespace(kind).linux["namespaces"].append({"type": kind, "path": f"/proc/{other}/ns/{FILES[kind]}"})
    assert newborn_first(hookrun).run(bundle.shell("echo here").path) == Result(0, "here\n", "")


def test_time_offsets_in_a_user_namespace(bundle: Bundle, hookrun: Runtime) -> None:
    bundle.with_user_namespace()
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 777777}}
    bundle.shell("id -u; cut -d. -f1 /proc/uptime; cat /proc/self/uid_map")
    result = hookrun.run(bundle.path)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "0"
    assert int(lines[1]) > 777777
    assert lines[2].split() == ["0", "100000", "65536"]


def namespaces(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "mount"}, *entries]


ROWS: dict[str, tuple[list[dict[str, Any]] | None, dict[str, Any], str]] = {
    "mount alone": (namespaces(), {}, "ls /proc/self/ns | wc -l"),
    "unknown kind": (namespaces({"type": "moon"}), {}, "true"),
    "twice": (namespaces({"type": "pid"}, {"type": "pid"}), {}, "true"),
    "hostname without uts": (namespaces({"type": "pid"}), {"hostname": "x"}, "true"),
    "masked paths without mount": ([{"type": "pid"}], {}, "true"),
    "path that is not there": (namespaces({"type": "network", "path": "/no/such/ns"}), {}, "true"),
}


@pytest.mark.parametrize("row", ROWS)
def test_refused_or_run_as_by_runc(bundle: Bundle, hookrun: Runtime, runc: Runtime, row: str) -> None:
    entries, config, script = ROWS[row]
    bundle.linux["namespaces"] = entries
    bundle.config.pop("hostname")
    bundle.config.update(config)
    bundle.process["args"] = ["sh", "-c", script]
    bundle.write()
    ours, theirs = hookrun.run(bundle.path), runc.run(bundle.path)
    assert ours.status == theirs.status
    assert bool(ours.err) == bool(theirs.err)
    assert ours.out == theirs.out


def test_user_namespace(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.with_user_namespace()
    bundle.process["args"] = [
        "sh",
        "-c",
        "id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; touch /made; ls -ln /made | cut -c1-30; ls -l /dev | grep -v mqueue; grep -E '^Cap' /proc/self/status",
    ]
    lines = compare(bundle, hookrun, runc)
    assert lines[:2] == ["status 0", "uid=0(root) gid=0(root)"]


def test_user_namespace_with_a_user_and_groups(bundle: Bundle, hookrun: Runtime, runc: Runtime) -> None:
    bundle.with_user_namespace()
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7, 8]}
    bundle.process["args"] = ["id"]
    assert compare(bundle, hookrun, runc)[0] == "status 0"


@pytest.mark.parametrize(
    "fields",
    [
        {"uidMappings": [], "gidMappings": []},
        {
            "uidMappings": [{"containerID": 5, "hostID": 100000, "size": 10}],
            "gidMappings": [{"containerID": 5, "hostID": 100000, "size": 10}],
        },
    ],
)
def test_mappings_that_runc_refuses(bundle: Bundle, hookrun: Runtime, runc: Runtime, fields: dict[str, Any]) -> None:
    bundle.with_user_namespace().linux.update(fields)
    bundle.write()
    assert runc.run(bundle.path).status == 1
    assert hookrun.run(bundle.path).status == 1


def test_mappings_without_a_user_namespace(bundle: Bundle, either: Runtime) -> None:
    """Nobody looks at them."""
    bundle.linux["uidMappings"] = [{"containerID": 5, "hostID": 100000, "size": 10}]
    result = either.run(bundle.command("cat", "/proc/self/uid_map").path)
    assert (result.status, result.out.split()) == (0, ["0", "0", "4294967295"])


def test_a_user_namespace_is_joined_by_its_path(bundle: Bundle, hookrun: Runtime) -> None:
    """runc 1.1.5 wants mappings beside the path, later ones refuse them."""
    import os

    holder = subprocess.Popen(["unshare", "-U", "sleep", "300"], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: open(f"/proc/{holder.pid}/comm").read().strip() == "sleep", "the holder")
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536")
        bundle.with_user_namespace()
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        path = f"/proc/{holder.pid}/ns/user"
        bundle.linux["namespaces"] = [entry for entry in bundle.linux["namespaces"] if entry["type"] != "user"] + [
            {"type": "user", "path": path}
        ]
        bundle.shell("readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map")
        result = hookrun.run(bundle.path)
        assert result.status == 0, result.err
        lines = result.out.splitlines()
        assert lines[0] == os.readlink(path)
        assert lines[1] == "0"
    finally:
        holder.kill()
        holder.wait(60)
