"""What a policy says and can't mean: found with its place, and nothing found in what is meant."""

from __future__ import annotations

from typing import Any

import pytest

from hookrun.policies import compiler, plausible, testing
from tests.policies.support import document

DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "engine": ({"match": {"engine": "dokcer"}}, "unknown engine 'dokcer'; did you mean 'docker'?"),
    "engine in a list": ({"match": {"all": [{"engine": ["docker", "podmna"]}]}}, "did you mean 'podman'?"),
    "engine by an operator": ({"match": {"engine": {"notIn": ["contianerd"]}}}, "did you mean 'containerd'?"),
    "command": ({"match": {"command": "crate"}}, "policies do not judge the command 'crate'; did you mean 'create'?"),
    "command that is not asked": ({"match": {"command": "state"}}, "policies do not judge the command 'state'"),
    "field": (
        {"deny": [{"when": {"field": "/mounts/*/sorce", "equals": "x"}, "message": "m"}]},
        "config.json has no 'sorce' there; did you mean 'source'?",
    ),
    "field of a string": ({"match": {"field": "/hostname/x"}}, "config.json has no 'x' there"),
    "number of a list": ({"match": {"field": "/mounts/source"}}, "config.json has no 'source' there"),
    "type": (
        {"match": {"field": "/process/user/uid", "equals": "0"}},
        "/process/user/uid is an integer, and never '0'",
    ),
    "truth": (
        {"match": {"field": "/root/readonly", "in": [True, "yes"]}},
        "/root/readonly is a boolean, and never 'yes'",
    ),
    "text of a number": (
        {"match": {"field": "/process/user/uid", "matches": "0"}},
        "/process/user/uid is not a string",
    ),
    "order of a text": (
        {"match": {"field": "/hostname", "less": 5}},
        "/hostname is a string: it is neither less nor greater",
    ),
    "a size of what is none": (
        {"match": {"field": "/process/user/uid", "notLess": "1k"}},
        "/process/user/uid does not count bytes: write a plain number",
    ),
    "bytes without a unit": (
        {"match": {"field": "/linux/resources/memory/limit", "greater": 512}},
        "512 is a number of bytes: write a unit, as in 512Mi",
    ),
    "too large": (
        {"match": {"field": "/process/user/uid", "notGreater": 4294967296}},
        "/process/user/uid is from 0 to 4294967295, and never 4294967296",
    ),
    "too large a size": ({"match": {"field": "/linux/resources/memory/swap", "greater": "8Ei"}}, "and never 8Ei"),
    "too small": (
        {"match": {"field": "/process/user/uid", "less": -1}},
        "/process/user/uid is from 0 to 4294967295, and never -1",
    ),
    "patch": ({"patch": [{"op": "add", "path": "/linux/maskedPath/-", "value": "x"}]}, "did you mean 'maskedPaths'?"),
    "capability": ({"capabilities": {"drop": ["NET_RAWW"]}}, "unknown capability 'NET_RAWW'; did you mean 'NET_RAW'?"),
    "seccomp": (
        {"seccomp": {"default": {"defaultAction": "SCMP_ACT_NO"}}},
        "defaultAction: 'SCMP_ACT_NO' is not one of",
    ),
    "hook": ({"hooks": {"poststop": [{"path": "/nosuch/hook"}]}}, "there is no file /nosuch/hook on this host"),
}
MEANT: list[dict[str, Any]] = [
    {"match": {"engine": "my-own-engine"}},
    {"match": {"engine": {"matches": "^do"}}},
    {"match": {"any": [{"command": ["create", "exec"]}, {"none": {"engine": "docker"}}]}},
    {"match": {"field": "/annotations/what.ever", "equals": "x"}},
    {"match": {"field": "/linux/resources/unified/memory.max", "equals": "1"}},
    {"match": {"field": "/process/capabilities/*/0", "equals": "CAP_KILL"}},
    {"match": {"field": "/process/rlimits/0/soft", "greater": 1}},
    {"match": {"field": "/process/rlimits/*/hard", "greater": "1Gi"}},
    {"match": {"field": "/linux/resources/memory/limit", "greater": "1.5Gi", "notLess": -1, "less": 8192}},
    {"match": {"field": "/linux/resources/blockIO/throttleReadBpsDevice/*/rate", "greater": "10M"}},
    {"match": {"field": "/linux/resources/hugepageLimits/0/limit", "notGreater": "2Mi"}},
    {"match": {"field": "/annotations/x", "exists": True}},
    {"match": {"field": "/vm/hypervisor/path", "exists": True}},
    {"patch": [{"op": "add", "path": "/process/env/-", "value": "A=1"}]},
    {"capabilities": {"drop": ["all"], "allow": ["cap_kill", "CHOWN"]}},
    {"hooks": {"startContainer": [{"path": "/in/the/container"}], "poststop": [{"path": "/bin/sh"}]}},
]


def doubts(spec: dict[str, Any], **others: Any) -> list[str]:
    (source,) = compiler.load(document(**spec, **others), "p.yaml")
    return [finding.text for finding in plausible.findings(source)]


@pytest.mark.parametrize(("spec", "text"), DOUBTS.values(), ids=DOUBTS)
def test_what_cannot_be_meant(spec: dict[str, Any], text: str) -> None:
    (finding,) = doubts(spec)
    assert finding.startswith("p.yaml:") and text in finding


@pytest.mark.parametrize("spec", MEANT, ids=str)
def test_what_is_meant(spec: dict[str, Any]) -> None:
    assert doubts(spec) == []


TEXT = """apiVersion: hookrun/v1
kind: Policy
metadata: {name: one, nmae: x}
spec:
  match: {engine: dokcer}
  deny:
    - {when: {field: /hostname, equals: x}, message: not x}
    - {when: {field: /hostname, equals: y}, message: not y}
tests:
  - {name: a, config: {hostname: x}, expect: {denied: not x}}
  - {name: b, expect: {matchd: true}}
"""


def test_an_unknown_key_hides_nothing_and_adds_nothing() -> None:
    _, problems = compiler.examine(TEXT, "p.yaml")
    assert [problem.text for problem in problems] == [
        "p.yaml:3:23: metadata: there is no 'nmae' here; did you mean 'name'?"
    ]


def test_a_test_that_is_none_and_a_rule_without_one() -> None:
    (source,) = compiler.load(TEXT.replace(", nmae: x", "").replace("dokcer", "docker"), "p.yaml")
    assert [finding.text for finding in plausible.findings(source)] == [
        "p.yaml:11:24: tests[1].expect: there is no 'matchd' here; did you mean 'matched'?"
    ]
    assert testing.unreached(source) == ["p.yaml:1:1: policy one: no test comes to the refusal 'not y'"]
    (bare,) = compiler.load(document(), "p.yaml")
    assert testing.unreached(bare) == ["p.yaml:1:1: policy one has no tests"]
