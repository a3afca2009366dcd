"""The higher-level words: what each refuses and what it changes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.policies.support import Config, document, judged


def after(config: Config, **spec: Any) -> Config:
    """The config that a policy makes; the one that came in must be as it was."""
    before = copy.deepcopy(config)
    outcome = judged(config, document(**spec))
    assert config == before
    assert not outcome.denied, outcome.denied
    return outcome.config


def refusal(config: Config, **spec: Any) -> str:
    return judged(config, document(**spec)).denied


def env(*entries: str, **word: Any) -> list[str]:
    found: list[str] = after({"process": {"env": list(entries)}}, env=word)["process"]["env"]
    return found


def test_env() -> None:
    assert env("A=1", default={"A": "2", "B": "3"}) == ["A=1", "B=3"]
    assert env("A=1", "C=", force={"A": "2", "B": "3"}) == ["A=2", "C=", "B=3"]
    assert env("A=1", "B=2", "A=3", force={"A": "4"}) == ["A=4", "B=2"]
    assert env("A=1", "B=2", "AB=3", "A=4", unset=["A"]) == ["B=2", "AB=3"]
    assert after({"process": {}}, env={"force": {"A": "="}})["process"]["env"] == ["A=="]
    assert after({}, env={"force": {"A": "1"}}) == {}


MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/data", "type": "none", "source": "/srv//data/../data", "options": ["rbind", "rw"]},
]


def test_mounts_add() -> None:
    new = {"destination": "/new", "type": "bind", "source": "/x", "options": ["bind"]}
    assert after({"mounts": MOUNTS}, mounts={"add": [new]})["mounts"] == [*MOUNTS, new]
    assert after({"mounts": [new]}, mounts={"add": [new]}) == {"mounts": [new]}
    assert after({}, mounts={"add": [new]})["mounts"] == [new]


@pytest.mark.parametrize(
    ("selector", "refused"),
    [
        ({"destination": "/data"}, True),
        ({"destination": ["/x", "/data"]}, True),
        ({"source": "/srv/data"}, True),
        ({"source": {"startsWith": "/srv"}, "type": "bind"}, True),
        ({"source": "/srv"}, False),
        ({"type": "none"}, False),
        ({"type": "proc"}, True),
        ({"source": "/srv/data", "type": "proc"}, False),
    ],
)
def test_mounts_forbid(selector: dict[str, Any], refused: bool) -> None:
    assert bool(refusal({"mounts": MOUNTS}, mounts={"forbid": [selector]})) is refused


def test_mounts_forbid_says_which() -> None:
    assert (
        refusal({"mounts": MOUNTS}, mounts={"forbid": [{"type": "proc"}]})
        == "policy one: the mount of proc on /proc is not allowed"
    )
    assert refusal({"mounts": MOUNTS}, mounts={"forbid": [{"type": "proc", "message": "no"}]}) == "policy one: no"


def test_mounts_read_only() -> None:
    changed = after({"mounts": MOUNTS}, mounts={"readOnly": [{"type": "bind"}]})["mounts"]
    assert changed[0] is MOUNTS[0]
    assert changed[1]["options"] == ["rbind", "ro"]


def test_capabilities() -> None:
    config = {
        "process": {
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"], "effective": []}
        }
    }
    dropped = after(config, capabilities={"drop": ["net_raw"]})["process"]["capabilities"]
    assert dropped == {"bounding": ["CAP_CHOWN"], "ambient": [], "effective": []}
    assert after(config, capabilities={"drop": "ALL"})["process"]["capabilities"] == {
        "bounding": [],
        "ambient": [],
        "effective": [],
    }
    allowed = after(config, capabilities={"allow": ["CAP_NET_RAW", "KILL"]})["process"]["capabilities"]
    assert allowed == {"bounding": ["CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"], "effective": []}


def test_rlimits() -> None:
    config = {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]}}
    changed = after(config, rlimits={"nofile": {"soft": 5, "hard": 6}, "RLIMIT_CORE": {"soft": 0, "hard": 0}})
    assert changed["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]


@pytest.mark.parametrize(
    ("before", "word", "expected"),
    [
        ({}, {"default": {"memory": "1Ki"}}, {"memory": {"limit": 1024}}),
        (
            {"memory": {"limit": -1, "swap": -1}},
            {"default": {"memory": "1M"}},
            {"memory": {"limit": 1000000, "swap": -1}},
        ),
        ({"memory": {"limit": 5}}, {"default": {"memory": 9}}, {"memory": {"limit": 5}}),
        ({"memory": {"limit": 5}}, {"max": {"memory": 9}}, {"memory": {"limit": 5}}),
        ({"memory": {"limit": 50}}, {"max": {"memory": 9}}, {"memory": {"limit": 9}}),
        ({}, {"max": {"cpus": 0.5}}, {"cpu": {"period": 100000, "quota": 50000}}),
        ({"cpu": {"quota": 300, "period": 100}}, {"max": {"cpus": 2}}, {"cpu": {"quota": 200, "period": 100}}),
        ({"cpu": {"quota": 100, "period": 100}}, {"max": {"cpus": 2}}, {"cpu": {"quota": 100, "period": 100}}),
        ({"pids": {"limit": 0}}, {"default": {"pids": 7}, "max": {"pids": 9}}, {"pids": {"limit": 7}}),
        ({"pids": {"limit": 10}}, {"default": {"pids": 7}, "max": {"pids": 9}}, {"pids": {"limit": 9}}),
    ],
)
def test_resources(before: dict[str, Any], word: dict[str, Any], expected: dict[str, Any]) -> None:
    assert after({"linux": {"resources": before}}, resources=word)["linux"]["resources"] == expected


def test_profiles(tmp_path: Path) -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO"}
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    assert after({}, seccomp={"default": str(file)}) == {"linux": {"seccomp": profile}}
    other = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG"}}}
    assert after(other, seccomp={"default": profile}) == other
    assert after(other, seccomp={"force": profile}) == {"linux": {"seccomp": profile}}
    assert after({"process": {}}, apparmor={"default": "mine"})["process"]["apparmorProfile"] == "mine"
    own = {"process": {"apparmorProfile": "own"}}
    assert after(own, apparmor={"default": "mine"}) == own
    assert after(own, apparmor={"force": "mine"})["process"]["apparmorProfile"] == "mine"


def test_switches() -> None:
    config = {"process": {}, "root": {"path": "r"}}
    assert after(config, noNewPrivileges=True, readonlyRootfs=True) == {
        "process": {"noNewPrivileges": True},
        "root": {"path": "r", "readonly": True},
    }
    assert after(config, noNewPrivileges=False) is config


def test_sysctl() -> None:
    config = {"linux": {"sysctl": {"net.a": "1", "kernel.b": "2"}}}
    assert after(config, sysctl={"default": {"net.a": "9", "net.c": "3"}})["linux"]["sysctl"] == {
        "net.a": "1",
        "kernel.b": "2",
        "net.c": "3",
    }
    assert after(config, sysctl={"force": {"net.a": "9"}})["linux"]["sysctl"]["net.a"] == "9"
    assert refusal(config, sysctl={"forbid": ["kernel.*"]}) == "policy one: the sysctl kernel.b is not allowed"
    assert refusal(config, sysctl={"allow": ["net.*"]}) == "policy one: the sysctl kernel.b is not allowed"
    assert not refusal(config, sysctl={"allow": ["net.*", "kernel.b"], "forbid": ["kernel"]})


def test_annotations() -> None:
    config = {"annotations": {"a": "1", "b": "2"}}
    changed = after(config, annotations={"default": {"a": "9", "c": "3"}, "force": {"b": "8"}, "unset": ["a"]})
    assert changed == {"annotations": {"b": "8", "c": "3"}}
    assert after({}, annotations={"unset": ["a"]}) == {}


@pytest.mark.parametrize(
    ("user", "word", "message"),
    [
        ({"uid": 0}, {"forbidRoot": True}, "running as root is not allowed"),
        ({}, {"forbidRoot": True}, "running as root is not allowed"),
        ({"uid": 1}, {"forbidRoot": True}, ""),
        ({"uid": 0}, {"forbidRoot": False}, ""),
        (
            {"uid": 999},
            {"uids": ["1000-2000", 5]},
            "running with the uid 999 is not allowed: it must be in 1000-2000, 5",
        ),
        ({"uid": 2000}, {"uids": "1000-2000"}, ""),
        ({"uid": 5}, {"uids": ["1000-2000", 5]}, ""),
        ({"uid": 5, "gid": 4}, {"gids": [5]}, "running with the gid 4 is not allowed: it must be in 5"),
    ],
)
def test_user(user: dict[str, Any], word: dict[str, Any], message: str) -> None:
    assert refusal({"process": {"user": user}}, user=word) == (f"policy one: {message}" if message else "")


@pytest.mark.parametrize(
    ("namespaces", "refused"),
    [
        ([{"type": "pid"}], ""),
        ([], "pid"),
        ([{"type": "network"}], "pid"),
        ([{"type": "pid", "path": "/proc/1/ns/pid"}], "pid"),
        ([{"type": "pid", "path": "/proc/4711/ns/pid"}], ""),
    ],
)
def test_namespaces(namespaces: list[dict[str, str]], refused: str) -> None:
    found = refusal({"linux": {"namespaces": namespaces}}, namespaces={"forbidHost": ["pid"]})
    assert found == (f"policy one: the host's {refused} namespace is not allowed" if refused else "")


def test_namespaces_that_the_caller_found_to_be_the_hosts() -> None:
    config = {"linux": {"namespaces": [{"type": "network", "path": "/run/x"}]}}
    text = document(namespaces={"forbidHost": "network"})
    assert not judged(config, text).denied
    assert judged(config, text, hostNamespaces=["network"]).denied


@pytest.mark.parametrize("name", ["kernel.core_pattern", "kernel/core_pattern"])
def test_a_sysctl_by_its_other_spelling(name: str) -> None:
    config = {"linux": {"sysctl": {name: "x"}}}
    for pattern in ("kernel.*", "kernel/*", "kernel.core_pattern", "kernel/core_pattern", "kernel*"):
        assert refusal(config, sysctl={"forbid": [pattern]}), pattern
        assert not refusal(config, sysctl={"allow": [pattern]}), pattern
    for pattern in ("net.*", "kernel.core", "kernel/core_patterns"):
        assert not refusal(config, sysctl={"forbid": [pattern]}), pattern
        assert refusal(config, sysctl={"allow": [pattern]}), pattern


def test_a_sysctl_with_an_interface_in_it() -> None:
    for name in ("net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu"):
        assert refusal({"linux": {"sysctl": {name: "1"}}}, sysctl={"forbid": ["net.ipv4.conf.eth0/1.mtu"]})
        assert not refusal({"linux": {"sysctl": {name: "1"}}}, sysctl={"forbid": ["net.ipv4.conf.eth0.1.mtu"]})


def test_additional_groups_are_groups() -> None:
    user = {"uid": 5, "gid": 100, "additionalGids": [101, 0]}
    message = "running with the gid 0 is not allowed: it must be in 100-200"
    assert refusal({"process": {"user": user}}, user={"gids": ["100-200"]}).endswith(message)
    assert not refusal({"process": {"user": {**user, "additionalGids": [101]}}}, user={"gids": ["100-200"]})


@pytest.mark.parametrize(
    ("mappings", "refused"),
    [
        ([{"containerID": 0, "hostID": 100000, "size": 65536}], False),
        ([{"containerID": 0, "hostID": 0, "size": 65536}], True),
        ([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 0, "size": 1}], True),
        ([], False),
    ],
)
def test_a_user_namespace_with_the_hosts_root(mappings: list[dict[str, int]], refused: bool) -> None:
    config = {"linux": {"namespaces": [{"type": "user"}], "uidMappings": mappings}}
    assert bool(refusal(config, namespaces={"forbidHost": ["user"]})) is refused
