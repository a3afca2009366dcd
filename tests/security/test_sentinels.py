"""Numbers that mean something else to a system call: -1 for "leave it", and what is cut to another number on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookrun.runtime.cgroups.devices import program as device_program
from hookrun.runtime.cgroups.devices.rules import Access
from hookrun.runtime.commands import update
from hookrun.runtime.errors import Failure
from hookrun.runtime.spec import devices, shape
from tests.support.bundles import Bundle
from tests.support.runtimes import Runtime

RANGE = "unable to start container process: unable to setup user: uids and gids must be in range 0-2147483647"
MINUS_ONE = 0xFFFFFFFF
USERS = [
    {"uid": MINUS_ONE, "gid": MINUS_ONE},
    {"uid": MINUS_ONE, "gid": 0},
    {"uid": 1000, "gid": MINUS_ONE},
    {"uid": 1 << 31, "gid": 0},
    {"uid": 1000, "gid": 1000, "additionalGids": [MINUS_ONE]},
]


@pytest.mark.parametrize("user", USERS, ids=str)
def test_nobody_is_minus_one(user: dict[str, Any], bundle: Bundle, either: Runtime) -> None:
    """setresuid(-1, -1, -1) changes nothing: the container would run as root."""
    bundle.process["user"] = user
    result = either.run(bundle.command("id").path)
    assert (result.status, result.out) == (1, "")
    assert RANGE in result.err


@pytest.mark.parametrize("user", USERS, ids=str)
def test_nobody_is_minus_one_in_a_user_namespace(user: dict[str, Any], bundle: Bundle, either: Runtime) -> None:
    bundle.with_user_namespace().process["user"] = user
    result = either.run(bundle.command("id").path)
    assert (result.status, result.out) == (1, "")
    assert RANGE in result.err


def test_exec_makes_nobody_minus_one(bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.command("sleep", "1000").path)
    process = bundle.path / "process.json"
    for user in USERS:
        process.write_text(json.dumps({"args": ["id"], "cwd": "/", "env": ["PATH=/bin"], "user": user}))
        result = either.call("exec", "--process", str(process), container)
        assert (result.status, result.out) == (255, "")
        assert RANGE in result.err
    for flags in (("--user", str(MINUS_ONE)), ("--user", f"0:{MINUS_ONE}"), ("--additional-gids", str(MINUS_ONE))):
        result = either.call("exec", *flags, container, "id")
        assert (result.status, result.out) == (255, "")
        assert RANGE in result.err


def test_exec_takes_no_user_that_is_cut_to_root(bundle: Bundle, hookrun: Runtime) -> None:
    """runc 1.1 cuts 4294967296 to 0."""
    container = hookrun.run_detached(bundle.command("sleep", "1000").path)
    for user in ("4294967296", "-1", "0:4294967296"):
        result = hookrun.call("exec", "--user", user, container, "id")
        assert (result.status, result.out) == (255, "")
        assert RANGE in result.err


def test_a_user_that_is_not_mapped(bundle: Bundle, either: Runtime) -> None:
    bundle.with_user_namespace().process["user"] = {"uid": 70000, "gid": 0}
    assert (
        "unable to setup user: cannot set uid to unmapped user in user namespace" in either.run(bundle.write().path).err
    )
    bundle.process["user"] = {"uid": 0, "gid": 70000}
    assert (
        "unable to setup user: cannot set gid to unmapped user in user namespace" in either.run(bundle.write().path).err
    )


def test_a_umask_is_nine_bits(bundle: Bundle, either: Runtime) -> None:
    bundle.process["user"]["umask"] = MINUS_ONE
    assert either.run(bundle.shell("umask").path).out == "0777\n"


# --- devices


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_a_device_has_an_owner(field: str, bundle: Bundle, hookrun: Runtime) -> None:
    """chown(-1) leaves the node to root, as runc does without a word."""
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, field: MINUS_ONE}]
    result = hookrun.run(bundle.command("true").path)
    assert result.status == 1
    assert f"config.json: linux.devices.0.{field}: {MINUS_ONE} is out of range" in result.err


@pytest.mark.parametrize(
    ("major", "minor"), [((1 << 32) + 8, 0), (4096 + 8, 0), (8, 1 << 20), (8, 1 << 32), (-1, 0), (8, -1), (1 << 62, 0)]
)
def test_a_device_is_the_one_that_is_named(major: int, minor: int) -> None:
    """runc and mknod(2) cut the numbers: 4294967304 is the disk 8, whatever a policy about major 8 says."""
    device = {"path": "/dev/x", "type": "b", "major": major, "minor": minor}
    with pytest.raises(Failure, match=r"config\.json: linux\.devices\.0\.(major|minor): .* is out of range"):
        devices.check({"linux": {"devices": [device]}})


@pytest.mark.parametrize("number", [-2, 1 << 32, -(1 << 63)])
def test_a_rule_is_about_the_device_that_is_named(number: int) -> None:
    with pytest.raises(Failure, match="invalid device number"):
        device_program.program(Access([(True, "c", number, 3, "rwm")]))


# --- descriptors, signals, times, sizes


@pytest.mark.parametrize("count", ["-1", "-3", "-4"])
def test_fewer_than_no_descriptors_are_kept(count: str, bundle: Bundle, either: Runtime) -> None:
    """3 + -1 is the standard error."""
    bundle.shell("echo out; echo err >&2")
    result = either.run(bundle.path, "--preserve-fds", count)
    assert (result.status, result.out, result.err) == (0, "out\n", "err\n")
    container = either.run_detached(bundle.command("sleep", "1000").path)
    result = either.call("exec", "--preserve-fds", count, container, "sh", "-c", "echo out; echo err >&2")
    assert (result.status, result.out, result.err) == (0, "out\n", "err\n")


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ("99", "unable to signal init: invalid argument"),
        ("-1", "unable to signal init: invalid argument"),
        ("9999999999999999", "unable to signal init: invalid argument"),
        ("1_5", 'unknown signal "1_5"'),
        (" 9", 'unknown signal " 9"'),
        ("٩", 'unknown signal "٩"'),
    ],
)
def test_signals_that_are_none(signal: str, message: str, bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.command("sleep", "1000").path)
    result = either.call("kill", container, signal)
    assert result.status == 1
    assert message in result.err.replace("\\", "")
    assert either.state(container)["status"] == "running"


def test_a_hook_may_take_a_year(bundle: Bundle, either: Runtime) -> None:
    """More milliseconds than poll(2) takes."""
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true", "timeout": 365 * 86400}]}
    assert either.run(bundle.command("true").path).status == 0


@pytest.mark.parametrize("size", ["9" * 400, "9" * 30 + "P", "99999999999G"])
def test_sizes_that_no_number_holds(size: str) -> None:
    with pytest.raises(Failure, match="invalid value for memory: invalid size"):
        update._size("memory", size)


def test_null_is_not_given(bundle: Bundle, hookrun: Runtime) -> None:
    """Go's decoder leaves a field alone that is null, every one in the table, and none of ours is an internal error."""
    bundle.command("true")

    def nulled(value: Any, form: Any) -> Any:
        return {
            **value,
            **{name: None for name, inner in form.items() if inner in (str, bool) or isinstance(inner, tuple)},
        }

    bundle.process["user"] = nulled({}, shape.PROCESS["user"])
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": None, "hard": None}]
    bundle.process.update(
        {name: None for name in ("terminal", "oomScoreAdj", "apparmorProfile", "consoleSize", "commandLine")}
    )
    bundle.config["annotations"] = {"empty": None}
    bundle.linux["resources"]["memory"] = nulled({}, shape.RESOURCES["memory"])
    bundle.linux["resources"]["cpu"] = nulled({}, shape.RESOURCES["cpu"])
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": None, "fileMode": None}]
    result = hookrun.run(bundle.write().path)
    assert (result.status, result.err) == (0, "")
