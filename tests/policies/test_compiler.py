"""What the compiler refuses, and where it says that the fault is."""

from __future__ import annotations

import json
import marshal
from typing import Any, cast

import pytest

from hookrun.policies import blindness, compiler, testing
from hookrun.policies.document import Invalid
from tests.policies.support import document, plan

HEAD = "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: one}\n"

# What follows HEAD; line:column and a part of the text.
WRONG: list[tuple[str, str, str]] = [
    ("spec:\n  devices: {}\n", "5:12", "it must have one of forbid, allow"),
    ("spec:\n  devices: {allow: [{path: /dev/fuse}]}\n", "5:21", "type and major are both required"),
    ("spec:\n  devices: {forbid: [{}]}\n", "5:22", "it must have one of path, type, major, minor"),
    ("spec:\n  mach: {}\n", "5:3", "there is no 'mach' here; did you mean 'match'?"),
    ("spec:\n  match: {engin: docker}\n", "5:11", "there is no 'engin' here; did you mean 'engine'?"),
    ("spec:\n  match: {field: hostname, equals: x}\n", "5:18", "it must begin with '/'"),
    ("spec:\n  match: {field: /hostname, equal: x}\n", "5:29", "did you mean 'equals'?"),
    ("spec:\n  match: {field: /h, matches: '('}\n", "5:31", "invalid regular expression"),
    ("spec:\n  match: {field: /h, less: x}\n", "5:28", "it must be a number, not a string"),
    (
        "spec:\n  match: {field: /h, less: 512m}\n",
        "5:28",
        "it must be a size: 512Mi, 1G or a number of bytes; m is a thousandth to Kubernetes; did you mean '512M'?",
    ),
    ("spec:\n  match: {field: /h, less: 1 gib}\n", "5:28", "did you mean '1Gi'?"),
    ("spec:\n  match: {field: /h, greater: 5GB}\n", "5:31", "did you mean '5G'?"),
    ("spec:\n  match: {field: /h, notLess: 0.3Ki}\n", "5:31", "0.3Ki is not a whole number of bytes"),
    ("spec:\n  match: {field: /h, notGreater: -1Gi}\n", "5:34", "it must be a number, not a string"),
    (
        "spec:\n  match: {label: a, field: /h, exists: false}\n",
        "5:40",
        "it may belong to label or to field: put them into two conditions, under `all`",
    ),
    ("spec:\n  match: {equals: x}\n", "5:10", "add one of engine"),
    ("spec:\n  match: {engine: docker, matches: x}\n", "5:36", "it belongs inside: `engine: {matches: …}`"),
    ("spec:\n  match: {}\n", "5:10", "it is empty"),
    ("spec:\n  mode: audti\n", "5:9", "did you mean 'audit'?"),
    ("spec:\n  onError: ignore\n", "5:12", "it must be one of deny, allow"),
    ("spec:\n  priority: high\n", "5:13", "it must be a whole number"),
    ("spec:\n  deny:\n    - when: {engine: docker}\n", "6:7", "message is missing"),
    ("spec:\n  patch:\n    - {op: ad, path: /a, value: 1}\n", "6:12", "did you mean 'add'?"),
    ("spec:\n  patch:\n    - {op: add, path: /a}\n", "6:7", "value is missing"),
    ("spec:\n  patch:\n    - {op: add, path: a, value: 1}\n", "6:23", "it must begin with '/'"),
    ("spec:\n  patch:\n    - {op: remove, path: ''}\n", "6:26", "it must lead into the config"),
    ("spec:\n  merge: [1]\n", "5:10", "it must be a mapping, not a list"),
    ("spec:\n  hooks: {createruntime: []}\n", "5:11", "did you mean 'createRuntime'?"),
    ("spec:\n  hooks: {createRuntime: [{path: bin/x}]}\n", "5:34", "it must be absolute"),
    ("spec:\n  hooks: {createRuntime: [{path: /x, timeout: 0}]}\n", "5:47", "greater than zero"),
    (
        "spec:\n  hooks: {createRuntime: [{path: /x, args: [1]}]}\n",
        "5:45",
        "it must be a string, not a number: write it in quotes",
    ),
    ("spec:\n  env: {force: {A: 1}}\n", "5:20", "it must be a string, not a number: write it in quotes"),
    ("spec:\n  env: {forced: {A: b}}\n", "5:9", "did you mean 'force'?"),
    ("spec:\n  mounts: {forbid: [{src: /}]}\n", "5:22", "did you mean 'source'?"),
    ("spec:\n  mounts: {add: [{source: /}]}\n", "5:18", "destination is missing"),
    ("spec:\n  capabilities: {drop: [net-raw]}\n", "5:25", "invalid capability 'NET-RAW'"),
    ("spec:\n  rlimits: {NOFILES: {soft: 1, hard: 1}}\n", "5:13", "unknown rlimit 'NOFILES'"),
    ("spec:\n  rlimits: {NOFILE: {soft: 2, hard: 1}}\n", "5:21", "soft must be between 0 and hard"),
    ("spec:\n  resources: {max: {memory: 5 bananas}}\n", "5:29", "it must be a size"),
    ("spec:\n  seccomp: {force: profile.json}\n", "5:20", "it must be an absolute path"),
    ("spec:\n  user: {uids: [9-5]}\n", "5:17", "a range like 1000-65535"),
    ("spec:\n  namespaces: {forbidHost: [net]}\n", "5:29", "it must be one of pid, network"),
    ("spec:\n  match: {field: /a, equals: 2020-01-01}\n", "5:30", "is not a JSON value: write it in quotes"),
    ("spec: [\n", "5:1", "expected the node content"),
    ("spec:\n  mode: audit\n  mode: off\n", "6:3", "duplicate key"),
    ("speck: {}\n", "4:1", "did you mean 'spec'?"),
]


@pytest.mark.parametrize(("text", "place", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_what_is_wrong_and_where(text: str, place: str, message: str) -> None:
    _, problems = compiler.examine(HEAD + text, "p.yaml")
    texts = [problem.text for problem in problems]
    assert any(line.startswith(f"p.yaml:{place}: ") and message in line for line in texts), texts


def test_owner_and_severity() -> None:
    text = "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: a, %s}\nspec: {}\n"
    (source,) = compiler.load(text % "owner: the  team, severity: critical", "p.yaml")
    assert (source.policy.owner, source.policy.severity) == ("the team", "critical")
    for wrong, message in (
        ("severity: severe", "it must be one of info, low, medium, high, critical, not 'severe'"),
        ("owner: 5", "it must be a string"),
    ):
        _, (problem,) = compiler.examine(text % wrong, "p.yaml")
        assert message in problem.text and problem.text.startswith("p.yaml:3:"), problem.text


def test_everything_wrong_is_said_at_once() -> None:
    text = HEAD + "spec:\n  mode: x\n  patch: 1\n  deny: 2\n---\n" + HEAD + "spec:\n  merge: 3\n"
    _, problems = compiler.examine(text, "p.yaml")
    assert [problem.text.split(":")[1] for problem in problems] == ["5", "6", "7", "13"]


def test_a_document_that_is_none_of_ours() -> None:
    _, problems = compiler.examine("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "p.yaml")
    assert "p.yaml:1:13: apiVersion: it must be hookrun/v1, not 'v1'" in [problem.text for problem in problems]


def test_order_is_priority_then_name() -> None:
    texts = [document("b"), document("c", priority=5), document("a"), document("d", priority=2000)]
    sources = [source for text in texts for source in compiler.load(text, "p")]
    assert [source.name for source in compiler.ordered(sources)] == ["c", "a", "b", "d"]


def test_two_of_one_name() -> None:
    sources = compiler.load(document("same"), "a.yaml") + compiler.load(document("same"), "b.yaml")
    with pytest.raises(Invalid) as caught:
        compiler.ordered(sources)
    assert caught.value.text == "b.yaml:1:1: policy 'same' already exists, at a.yaml:1"


def test_what_is_off_is_left_out() -> None:
    assert plan(document("a", mode="off"), document("b"))["always"] == [0]


def test_a_plan_survives_marshal() -> None:
    made = plan(
        document(
            match={"image": {"matches": "^x"}, "engine": ["docker"]}, env={"force": {"A": "b"}}, deny=[{"message": "m"}]
        )
    )
    assert marshal.loads(marshal.dumps(cast("dict[str, Any]", made))) == made


def test_policies_are_found_by_what_they_want() -> None:
    made = plan(
        document("a", match={"namespace": "shop", "command": "create"}),
        document("b", match={"all": [{"image": ["x", "y"]}, {"engine": "docker"}]}),
        document("c", match={"any": [{"engine": "docker"}, {"engine": "podman"}]}),
        document("d", match={"field": "/hostname", "equals": "h"}),
    )
    assert made["always"] == [2]
    assert dict(made["index"]) == {
        ("namespace",): {"shop": [0]},
        ("image",): {"x": [1], "y": [1]},
        ("field", "hostname"): {"h": [3]},
    }


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ({"label": "a"}, "docker, podman, cri-o tell the label: under other engines a container has none"),
        ({"labels": {"a.*": "x"}, "engine": "docker"}, ""),
        (
            {"labels": {"a": "x"}, "engine": ["docker", "kubernetes", "buildah"]},
            "under buildah, kubernetes a container has none",
        ),
        ({"image": "x", "engine": "kubernetes"}, ""),
        (
            {"image": "x", "engine": "containerd"},
            "docker, podman, kubernetes, cri-o tell the image: under containerd a container has none",
        ),
        ({"none": {"image": "x"}}, "tell the image: under other engines"),
        ({"annotation": "a"}, ""),
    ],
)
def test_what_engines_do_not_tell(match: Any, told: str) -> None:
    (source,) = compiler.load(document(match=match), "p.yaml")
    lines = compiler.untold(source)
    assert len(lines) == bool(told)
    assert all(line.startswith("p.yaml:1:1: policy one: ") and told in line for line in lines)


@pytest.mark.parametrize(
    ("invocation", "problem"),
    [
        ({"engine": "containerd", "labels": {"a": "b"}}, "containerd does not tell it: only docker, podman, cri-o do"),
        ({"engine": "kubernetes", "labels": {"a": "b"}}, "kubernetes does not tell it"),
        ({"engine": "buildkit", "image": "x"}, "buildkit does not tell it: only docker, podman, kubernetes, cri-o do"),
        ({"engine": "kubernetes", "image": "x"}, ""),
        ({"labels": {"a": "b"}}, ""),
    ],
)
def test_a_test_can_not_state_what_the_engine_does_not_tell(invocation: Any, problem: str) -> None:
    text = json.loads(document()) | {"tests": [{"invocation": invocation, "expect": {"changed": False}}]}
    (source,) = compiler.load(json.dumps(text), "p.yaml")
    (outcome,) = testing.run(source)
    assert problem in outcome.problem if problem else not outcome.problem


@pytest.mark.parametrize(
    ("rules", "directory"),
    [
        ([{"matches": r"^/run/user/\d+/docker\.sock$"}, {"in": ["/run/user"]}], "/run/user/0"),
        ([{"matches": r"^/run/user/\d+(/docker\.sock)?$"}, {"in": ["/run/user"]}], ""),
        ([{"matches": r"^/run/user/\d+(/docker\.sock)?$"}], "/run/user"),
        ([{"matches": r"^/(run|srv)/[^/]+\.sock$"}, {"equals": "/run/docker.sock"}], "/srv"),
        ([{"matches": r"^/(run|srv)/[^/]+\.sock$"}, {"equals": "/run/docker.sock"}, {"equals": "/srv"}], ""),
        ([{"matches": r"docker\.sock$"}], "/directory"),
        ([{"matches": r"^/etc(/|$)"}], "/"),
        ([{"matches": r"^/(etc(/.*)?)?$"}], ""),
        ([{"notMatches": r"^/srv/"}], ""),
    ],
)
def test_lint_names_a_directory_that_a_rule_does_not_see(rules: list[dict[str, Any]], directory: str) -> None:
    for spec in (
        {"mounts": {"forbid": [{"source": rule} for rule in rules]}},
        {"mounts": {"readOnly": [{"source": rule} for rule in rules]}},
        {"deny": [{"when": {"any": [{"field": "/mounts/*/source", **rule} for rule in rules]}, "message": "no"}]},
        {"deny": [{"when": {"mount": {"source": rule}}, "message": "no"} for rule in rules]},
    ):
        (source,) = compiler.load(document(**spec), "t.yaml")
        lines = blindness.missed(source)
        assert [f"a mount of {directory}, " in line for line in lines] == ([True] if directory else []), lines
