"""Input that is none: one clear line, a non-zero exit, nothing half made; where runc can judge, its exit code."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.runtime.spec import config as configs
from hookrun.wrapper.cli import argv
from tests.support import leaks
from tests.support.bundles import DEFAULT_CONFIG, Bundle
from tests.support.runtimes import Result, Runtime, fresh_id

MEGABYTE = 1 << 20
NESTED = "[" * 1000 + "]" * 1000

# What stands in config.json as a whole.
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t ",
    "truncated": b'{"ociVersion": "1.0.2", "process": {"args": ["tr',
    "two values": b"{} {}",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"config"',
    "a number": b"7",
    "not JSON": b"ociVersion: 1.0.2",
    "a thousand levels": b'{"process": ' + NESTED.encode() + b"}",
    "a hundred thousand levels": b"[" * 100000,
    "bytes that are not UTF-8": b'{"ociVersion": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"process": {"oomScoreAdj": NaN}}',
    "null bytes": b'{"ociVersion": "1.0.2"}\0\0\0',
    "an unfinished escape": b'{"a": "\\u12"}',
    "a raw newline in a string": b'{"a": "x\ny"}',
    "fifty megabytes of blanks, then nothing": b" " * (50 * MEGABYTE),
}

# A field set to a value that is wrong for it.
FIELDS: dict[str, tuple[str, Any]] = {
    "args a string": ("process.args", "true"),
    "args of numbers": ("process.args", [1, 2]),
    "an argument with a null byte": ("process.args", ["true", "a\0b"]),
    "cwd a number": ("process.cwd", 5),
    "cwd with a null byte": ("process.cwd", "/a\0b"),
    "uid negative": ("process.user.uid", -1),
    "uid too large": ("process.user.uid", 1 << 32),
    "uid a string": ("process.user.uid", "0"),
    "uid a fraction": ("process.user.uid", 1.5),
    "uid true": ("process.user.uid", True),
    "groups a number": ("process.user.additionalGids", 5),
    "env an object": ("process.env", {"A": "b"}),
    "terminal a string": ("process.terminal", "yes"),
    "capabilities a string": ("process.capabilities", "CAP_KILL"),
    "rlimit a string": ("process.rlimits", [{"type": "RLIMIT_NOFILE", "hard": "9", "soft": 9}]),
    "rlimit negative": ("process.rlimits", [{"type": "RLIMIT_NOFILE", "hard": -9, "soft": -9}]),
    "root absent": ("root", None),
    "root path empty": ("root.path", ""),
    "root path missing": ("root.path", "no-such-root"),
    "root path a list": ("root.path", ["rootfs"]),
    "mounts an object": ("mounts", {}),
    "a mount without a destination": ("mounts", [{"type": "tmpfs", "source": "tmpfs"}]),
    "mount options a string": ("mounts", [{"destination": "/x", "type": "tmpfs", "options": "ro"}]),
    "linux a list": ("linux", []),
    "namespaces an object": ("linux.namespaces", {"type": "pid"}),
    "a namespace without a type": ("linux.namespaces", [{"path": "/proc/1/ns/net"}]),
    "mappings of strings": ("linux.uidMappings", [{"containerID": "0", "hostID": 0, "size": 1}]),
    "masked paths a string": ("linux.maskedPaths", "/proc/kcore"),
    "memory limit a string": ("linux.resources.memory", {"limit": "64m"}),
    "memory limit beyond 64 bits": ("linux.resources.memory", {"limit": 1 << 70}),
    "pids a number": ("linux.resources.pids", 7),
    "a device of no type": ("linux.devices", [{"path": "/dev/x", "type": "zz", "major": 1, "minor": 3}]),
    "seccomp a list": ("linux.seccomp", []),
    "an unknown seccomp action": ("linux.seccomp", {"defaultAction": "SCMP_ACT_NONE"}),
    "hooks a list": ("hooks", []),
    "a hook without a path": ("hooks", {"createRuntime": [{"args": ["x"]}]}),
    "a hook with a relative path": ("hooks", {"createRuntime": [{"path": "hook"}]}),
    "a hook with timeout zero": ("hooks", {"createRuntime": [{"path": "/bin/true", "timeout": 0}]}),
    "annotations of numbers": ("annotations", {"a": 1}),
    "a sysctl of the host": ("linux.sysctl", {"vm.swappiness": "5"}),
    "sysctl a list": ("linux.sysctl", ["net.core.somaxconn"]),
    "a hostname of 10,000 letters": ("hostname", "x" * 10000),
    "cgroups path a number": ("linux.cgroupsPath", 5),
    "rootfs propagation unknown": ("linux.rootfsPropagation", "sideways"),
}
# Where runc 1.1.5 is laxer than the specification or than later versions of itself.
LAXER = {
    "an argument with a null byte",
    "a hook without a path",
    "a hook with a relative path",
    "a hook with timeout zero",
    "a mount without a destination",
    "two values",
    "null bytes",
    "a thousand levels",
    "bytes that are not UTF-8",
    "rootfs propagation unknown",
    "cwd with a null byte",
}


def put(config: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    for step in way:
        config = config.setdefault(step, {})
    if value is None:
        config.pop(last, None)
    else:
        config[last] = value


def assert_refused(runtime: Runtime, result: Result, container_id: str) -> None:
    assert result.status == 1, result
    assert result.err.count("\n") == 1, result.err[:2000]
    assert len(result.err) < 20000
    assert "Traceback" not in result.err
    assert "internal error" not in result.err, result.err
    assert not runtime.root.exists() or list(runtime.root.iterdir()) == []
    assert leaks.cgroups(container_id) == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_config_that_is_none(bundle: Bundle, hookrun: Runtime, runc: Runtime, name: str) -> None:
    (bundle.path / "config.json").write_bytes(TEXTS[name])
    container_id = fresh_id("bad")
    assert_refused(hookrun, hookrun.run(bundle.path, container_id=container_id), container_id)
    if name not in LAXER:
        assert runc.run(bundle.path).status != 0  # at a null it panics, with status 2


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_wrong(bundle: Bundle, hookrun: Runtime, runc: Runtime, name: str) -> None:
    put(bundle.config, *FIELDS[name])
    bundle.write()
    container_id = fresh_id("bad")
    assert_refused(hookrun, hookrun.run(bundle.path, container_id=container_id), container_id)
    if name not in LAXER:
        assert runc.run(bundle.path).status == 1


@pytest.mark.parametrize(
    "text", ['{"ociVersion": "1.0.2", "ociVersion": "1.0.2-x"}', '{"unknown": {"deep": [1, 2, {"x": null}]}}']
)
def test_what_go_takes_is_taken(bundle: Bundle, either: Runtime, text: str) -> None:
    """Of two equal keys the last counts; unknown fields are ignored."""
    merged = json.dumps(bundle.config)[:-1] + ", " + text[1:]
    (bundle.path / "config.json").write_text(merged)
    assert either.run(bundle.path).status == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"memory": "x"}', '{"memory": {"limit": "x"}}', '{"pids": {"limit": NaN}}', NESTED]
)
def test_resources_that_are_none(bundle: Bundle, either: Runtime, text: str) -> None:
    container_id = either.run_detached(bundle.command("sleep", "1000").path)
    before = either.state(container_id)
    result = either.call("update", "--resources", "-", container_id, stdin=text)
    assert result.status == 1, result
    assert "Traceback" not in result.err
    assert either.state(container_id) == before


@pytest.mark.parametrize("container_id", ["a\nb", "a\0b", "\ud800", "x" * 5000, "ä"])
def test_ids_that_are_none(bundle: Bundle, hookrun: Runtime, container_id: str) -> None:
    if "\0" in container_id:
        with pytest.raises(ValueError, match="null byte"):
            hookrun.call("state", container_id)
        return
    result = hookrun.call(
        "create",
        "--bundle",
        str(bundle.path),
        container_id.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"),
    )
    assert result.status == 1
    assert result.err.count("\n") == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
QUIET = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


@QUIET
@given(JSON)
def test_the_reader_reads_what_json_reads(value: Any) -> None:
    assert jsonio.loads(json.dumps(value)) == value
    assert json.loads(jsonio.dumps(value)) == value


@QUIET
@given(st.binary(max_size=200))
def test_the_reader_refuses_with_a_value_error(data: bytes) -> None:
    text = re.sub("[\ud800-\udfff]", "\ufffd", data.decode("utf-8", "surrogateescape"))
    try:
        expected, _ = json.JSONDecoder().raw_decode(text.lstrip(" \t\n\r"))
    except (ValueError, RecursionError):
        expected = None
    try:
        found = jsonio.loads(data)
    except ValueError:
        return
    assert found == expected or found != found  # noqa: PLR0124 (NaN)


PATHS = (
    "process",
    "process.user",
    "root",
    "mounts",
    "linux",
    "linux.namespaces",
    "linux.resources",
    "hooks",
    "annotations",
    "process.capabilities",
    "linux.uidMappings",
    "process.rlimits",
)


@QUIET
@given(st.sampled_from(PATHS), JSON)
def test_the_checker_accepts_or_fails_plainly(path: str, value: Any) -> None:
    config = json.loads(json.dumps(DEFAULT_CONFIG))
    put(config, path, value)
    try:
        configs.check(config)
    except Failure as failure:
        assert "\n" not in failure.text.strip()


WORDS = st.sampled_from(
    [
        "create",
        "exec",
        "run",
        "--root",
        "--bundle",
        "-b",
        "--",
        "-",
        "--detach=false",
        "-d",
        "--no-such",
        "x",
        "",
        "--log=/dev/null",
        "--help",
        "-h",
        "--tty",
        "=",
        "--=x",
        "--cap",
        "state",
    ]
)


@QUIET
@given(
    st.lists(
        st.one_of(WORDS.map(str.encode), st.binary(max_size=12).filter(lambda word: b"\0" not in word)), max_size=8
    )
)
def test_the_parser_never_breaks_and_keeps_every_byte(words: list[bytes]) -> None:
    call = argv.parse([b"hookrun", *words])
    assert call.argv == [b"hookrun", *words]
