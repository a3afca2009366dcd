"""Keys in another case, and null: what runc's decoder makes of them, the core and policies do too."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from hookrun.runtime.spec import go_decoder, shape
from tests.security.test_delegate import delegating
from tests.support.bundles import DEFAULT_CONFIG, Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import RUNC, Runtime
from tests.wrapper.decision.test_gate import in_force

SHOW = "touch /t && echo WRITABLE; grep NoNew /proc/self/status; mkdir /tmp/z && echo MADE"
CONFINED = "NoNewPrivs:\t1\n"


def filled(form: Any) -> Any:
    """A value with every field of a form."""
    if isinstance(form, list):
        return [filled(form[0])]
    if isinstance(form, dict):
        return {name if name != "*" else "Any.Key": filled(inner) for name, inner in form.items()}
    return {str: "x", bool: True}.get(form, 1)


def spelled(value: Any, form: Any, dice: random.Random) -> Any:
    """The same with every field's name in some other case."""
    if isinstance(form, list):
        return [spelled(element, form[0], dice) for element in value]
    if not isinstance(form, dict):
        return value
    if "*" in form:
        return {name: spelled(inner, form["*"], dice) for name, inner in value.items()}
    return {_spelled(name, dice): spelled(inner, form[name], dice) for name, inner in value.items()}


def _spelled(name: str, dice: random.Random) -> str:
    others = {"s": "sSſ", "k": "kK\u212a"}
    return "".join(dice.choice(others.get(letter.lower(), letter.lower() + letter.upper())) for letter in name)


@pytest.mark.parametrize("seed", range(20))
def test_every_field_in_any_case(seed: int) -> None:
    for form in (shape.CONFIG, shape.RESOURCES, shape.PROCESS):
        value = filled(form)
        other = spelled(value, form, random.Random(seed))
        assert other != value
        assert go_decoder.normalize(other, form)
        assert other == value
        assert not go_decoder.normalize(other, form)


def test_keys_of_maps_are_kept() -> None:
    config = {
        "annotations": {"Foo": "1", "foo": "2"},
        "linux": {"sysctl": {"Net.X": "1"}, "resources": {"unified": {"Memory.Max": "1"}}},
        "Unknown": {"ReadOnly": 1},
    }
    before = copy.deepcopy(config)
    assert not go_decoder.normalize(config, shape.CONFIG)
    assert config == before


@pytest.mark.parametrize("name", ["readonlİ", "claßID", "readonlyy", "ｒeadonly", "read only"])
def test_letters_that_do_not_fold(name: str) -> None:
    value = {name: True}
    assert not go_decoder.normalize(value, {"readonly": bool, "classsID": str})
    assert value == {name: True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"hostname": "a", "HostName": "b"}', {"hostname": "b"}),
        ('{"HostName": "b", "hostname": "a"}', {"hostname": "a"}),
        ('{"hostname": "a", "HostName": null}', {"hostname": "a"}),
        ('{"root": {"path": "p"}, "Root": {"READONLY": true}}', {"root": {"path": "p", "readonly": True}}),
        (
            '{"Root": {"ReadOnly": true}, "root": {"path": "p", "readonly": false}}',
            {"root": {"path": "p", "readonly": False}},
        ),
        ('{"linux": {"seccomp": {"defaultAction": "A"}, "Seccomp": null}}', {"linux": {}}),
        ('{"mounts": [{"Source": "/a"}, null]}', {"mounts": [{"source": "/a"}, {}]}),
        (
            '{"process": {"args": ["a", null], "user": {"additionalGids": [null]}}}',
            {"process": {"args": ["a", ""], "user": {"additionalGids": [0]}}},
        ),
        ('{"hooks": null, "annotations": {"a": null}}', {"annotations": {"a": ""}}),
        ('{"linux": 5, "ROOT": [1]}', {"linux": 5, "root": [1]}),
    ],
)
def test_one_field_twice_and_null(text: str, expected: Any) -> None:
    value = json.loads(text)
    go_decoder.normalize(value, shape.CONFIG)
    assert value == expected


def in_other_case(bundle: Bundle) -> Bundle:
    """What confines a container, in words that only a decoder like Go's takes."""
    process, root, linux = bundle.process, bundle.config["root"], bundle.linux
    process["NoNewPrivileges"] = True
    del process["noNewPrivileges"], root["readonly"]
    root["ReadOnly"] = True
    linux["Seccomp"] = {
        "DefaultAction": "SCMP_ACT_ALLOW",
        "Syscalls": [{"Names": ["mkdir", "mkdirat"], "Action": "SCMP_ACT_ERRNO"}],
    }
    return bundle


def test_confinement_in_another_case(bundle: Bundle, either: Runtime) -> None:
    result = either.run(in_other_case(bundle).shell(SHOW).path)
    assert result.out == CONFINED
    assert "Read-only file system" in result.err
    assert "Operation not permitted" in result.err


TWICE = {
    "text after it": (b"", b"} and so on"),
    "objects are merged": (b'"process": {"user": {"uid": 7}}, "process": {"user": {"gid": 8}}', b""),
    "maps are merged": (b'"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}, "LINUX": {"sysctl": {}}', b""),
    "lists of words are not": (b'"process": {"args": ["no", "such", "program"]}', b""),
    "lists of objects are, one by one": (
        b'"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},'
        b' {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}],'
        b' "mounts": [{}, {"destination": "/n"}]',
        b"",
    ),
    "bytes that are not UTF-8": (b'"hostname": "a\xff\xe2\x82b"', b""),
    "half a pair": (rb'"hostname": "a\ud800\u0041\udc00\ud83d\ude00"', b""),
}
SHOW_ALL = "id -u; id -g; hostname; cat /proc/sys/net/ipv4/ip_forward; grep -o ' /[mn] tmpfs r[ow]' /proc/mounts"


@pytest.mark.parametrize(("first", "last"), TWICE.values(), ids=TWICE)
def test_json_as_go_takes_it(bundle: Bundle, hookrun: Runtime, runc: Runtime, first: bytes, last: bytes) -> None:
    bundle.shell(SHOW_ALL)
    del bundle.config["hostname"]
    for name in ("m", "n"):
        (bundle.path / "rootfs" / name).mkdir()
    if b'"mounts"' in first:
        del bundle.config["mounts"]
    own = json.dumps(bundle.config).encode()
    text = b"{" + (first + b"," if first else b"") + own[1:-1] + (last or b"}")
    (bundle.path / "config.json").write_bytes(text)
    expected = runc.run(bundle.path)
    assert expected.status in (0, 1) and expected.out
    found = hookrun.run(bundle.path)
    assert (found.status, found.out) == (expected.status, expected.out)


def test_what_another_runtime_reads_is_what_was_judged(host: ConfiguredHost, bundle: Bundle) -> None:
    """In front of runc a config that decoders read differently is written anew, in words that all read alike."""
    delegating(host, RUNC, {"user": {"forbidRoot": True}})
    bundle.command("id", "-u")
    user = '"process": {"user": {"uid": %d, "gid": 5}}'
    del bundle.process["user"]
    own = json.dumps(bundle.config)
    for first, second, refused in ((0, 5, False), (5, 0, True)):
        text = f"{{{user % first}, {user % second}, {own[1:]} surplus"
        (bundle.path / "config.json").write_text(text)
        result = host.runtime.run(bundle.path)
        assert ("policy p0" in result.err) is refused, result
        if not refused:
            assert result.out == "5\n"


def test_the_core_alone_folds(bundle: Bundle) -> None:
    from hookrun.runtime.spec import config

    in_other_case(bundle).write()
    assert config.check(config.read(str(bundle.path)))["root"] == {"path": "rootfs", "readonly": True}


def test_exec_takes_a_process_in_another_case(bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.command("sleep", "1000").path)
    process = bundle.path / "process.json"
    process.write_text(
        json.dumps({"ARGS": ["id", "-u"], "Cwd": "/", "ENV": ["PATH=/bin"], "User": {"UID": 7, "gid": 0}})
    )
    assert either.call("exec", "--process", str(process), container).out == "7\n"


def test_update_takes_resources_in_another_case(bundle: Bundle, either: Runtime) -> None:
    container = either.run_detached(bundle.shell("cat /sys/fs/cgroup/pids/pids.max; sleep 1000").path)
    resources = bundle.path / "resources.json"
    resources.write_text('{"Pids": {"LIMIT": 77}}')
    result = either.call("update", "--resources", str(resources), container)
    assert result.status == 0, result.err
    assert json.loads((either.root / container / "state.json").read_text())["config"]["cgroups"]["pids_limit"] == 77


# --- policies see what is run


def test_a_policy_is_not_passed_by_another_case(host: ConfiguredHost, bundle: Bundle) -> None:
    deny = {"deny": [{"when": {"field": "/mounts/*/source", "equals": "/bin"}, "message": "not /bin"}]}
    in_force(host, deny, {"user": {"forbidRoot": True}})
    bundle.config["Mounts"] = [
        *bundle.config.pop("mounts"),
        {"Destination": "/h", "Source": "/bin", "Type": "bind", "Options": ["bind"]},
    ]
    bundle.process["user"] = {"uid": 5, "gid": 5}
    assert "policy p0: not /bin" in host.runtime.run(bundle.command("true").path).err
    bundle.config["Mounts"] = DEFAULT_CONFIG["mounts"]
    bundle.process["user"] = {"uid": 5, "UID": 0}
    assert "policy p1" in host.runtime.run(bundle.command("true").path).err
    bundle.process["user"] = {"uid": 0, "UID": 5}
    assert host.runtime.run(bundle.command("id", "-u").path).out == "5\n"
