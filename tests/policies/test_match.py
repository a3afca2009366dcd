"""Conditions: every operator with its negation, every subject, paths with `*`, and trees."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookrun.policies import conditions, expressions
from hookrun.policies.document import Node
from tests.policies.support import document, judged, matches

CONFIG: dict[str, Any] = {
    "hostname": "web-1",
    "process": {"user": {"uid": 7}, "terminal": True, "env": ["A=1", "B=2"], "cwd": "/srv"},
    "mounts": [{"destination": "/a", "type": "bind"}, {"destination": "/b"}],
    "annotations": {"io.x/tier": "front", "other": "1"},
    "empty": [],
}

# Field, operator, operand that holds, operand that does not.
OPERATORS: list[tuple[str, str, Any, Any]] = [
    ("/hostname", "equals", "web-1", "web"),
    ("/process/user/uid", "equals", 7.0, "7"),
    ("/process/terminal", "equals", True, 1),
    ("/hostname", "in", ["db", "web-1"], ["db"]),
    ("/hostname", "matches", r"^web-\d$", r"^\d"),
    ("/process/env", "contains", "A=1", "A"),
    ("/process/cwd", "contains", "sr", "home"),
    ("/process", "contains", "cwd", "nosuch"),
    ("/process/cwd", "startsWith", "/s", "s"),
    ("/process/user/uid", "less", 8, 7),
    ("/process/user/uid", "greater", 6.5, 7),
]


@pytest.mark.parametrize(("field", "operator", "good", "bad"), OPERATORS)
def test_operators_and_their_negations(field: str, operator: str, good: Any, bad: Any) -> None:
    negated = "not" + operator[0].upper() + operator[1:]
    assert matches({"field": field, operator: good}, CONFIG)
    assert not matches({"field": field, operator: bad}, CONFIG)
    assert not matches({"field": field, negated: good}, CONFIG)
    assert matches({"field": field, negated: bad}, CONFIG)


@pytest.mark.parametrize("operator", [name for name in conditions.OPERATORS if name != "exists"])
def test_what_is_absent_passes_negations_alone(operator: str) -> None:
    operand: Any = {"in": ["x"], "less": 1, "greater": 1}.get(operator, "x")
    assert not matches({"field": "/process/nosuch", operator: operand}, CONFIG)
    assert matches({"field": "/process/nosuch", "not" + operator[0].upper() + operator[1:]: operand}, CONFIG)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"field": "/process/user"}, True),
        ({"field": "/process/user", "exists": True}, True),
        ({"field": "/process/nosuch"}, False),
        ({"field": "/process/nosuch", "exists": False}, True),
        ({"field": "/mounts/*/destination", "equals": "/b"}, True),
        ({"field": "/mounts/*/destination", "equals": "/c"}, False),
        ({"field": "/mounts/*/destination", "notIn": ["/a", "/b"]}, False),
        ({"field": "/mounts/*/destination", "notIn": ["/a"]}, True),
        ({"field": "/mounts/*/type", "exists": False}, True),
        ({"field": "/mounts/*/nosuch"}, False),
        ({"field": "/mounts/1/destination", "equals": "/b"}, True),
        ({"field": "/mounts/2/destination", "exists": False}, True),
        ({"field": "/annotations/io.x~1tier", "equals": "front"}, True),
        ({"field": "/annotations/*", "equals": "1"}, True),
        ({"field": "/empty/*", "notEquals": 1}, False),
        ({"none": {"field": "/empty/*"}}, True),
        ({"field": "/process/user/uid", "greater": 5, "less": 10}, True),
        ({"field": "/process/user/uid", "greater": 5, "less": 6}, False),
        ({"annotation": "io.x/tier"}, True),
        ({"annotation": "io.x/tier", "equals": "front"}, True),
        ({"annotation": r"io\.x/tier", "matches": "^fr"}, True),
        ({"annotation": "io.x/.*", "equals": "front"}, True),
        ({"annotation": "io.x", "exists": True}, False),
        ({"annotation": "nosuch", "notEquals": "x"}, True),
        ({"annotations": {"io.x/tier": ["front", "back"], "other": "1"}}, True),
        ({"annotations": {"io.x/tier": "front", "other": "2"}}, False),
        ({"engine": "docker"}, True),
        ({"engine": ["podman", "cri-o"]}, False),
        ({"engine": {"notIn": ["podman"]}}, True),
        ({"command": "create", "engine": "docker"}, True),
        ({"command": "exec", "engine": "docker"}, False),
        ({"runtime": {"startsWith": "hook"}}, True),
        ({"container": "test"}, True),
        ({"label": "app", "equals": "shop"}, True),
        ({"labels": {"app": "shop"}}, True),
        ({"label": "a.+", "matches": "^sh"}, True),
        ({"label": "io.x/tier", "equals": "front"}, False),
        ({"all": [{"engine": "docker"}, {"any": [{"command": "x"}, {"none": [{"command": "exec"}]}]}]}, True),
        ({"any": [{"engine": "x"}, {"command": "x"}]}, False),
        ({"none": [{"engine": "x"}, {"command": "x"}]}, True),
        ({"none": [{"engine": "docker"}, {"command": "x"}]}, False),
        ([{"engine": "docker"}, {"command": "create"}], True),
        ({"all": [{"engine": "docker"}], "none": [{"command": "create"}]}, False),
    ],
)
def test_conditions(condition: Any, holds: bool) -> None:
    assert matches(condition, CONFIG, labels={"app": "shop"}) is holds


NAMED: dict[str, dict[str, str]] = {
    "kubernetes": {
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "registry.example/web:1",
    },
    "cri-o": {
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.container.name": "web",
    },
}
ENGINES = [
    "docker",
    "containerd",
    "podman",
    "buildah",
    "buildkit",
    "kubernetes",
    "cri-o",
    "rootless-kubernetes",
    "bash",
    "",
]


@pytest.mark.parametrize("engine", NAMED)
def test_kubernetes_names(engine: str) -> None:
    config = {"annotations": NAMED[engine]}
    image = "" if engine == "kubernetes" else "registry.example/web:1"
    assert matches({"namespace": "shop", "pod": "web-0", "container": "web"}, config, engine=engine)
    assert matches({"image": {"matches": "^registry.example/"}}, config, engine=engine, image=image)
    assert not matches({"namespace": "other"}, config, engine=engine)
    assert not matches({"container": "test"}, config, engine=engine), "the id counts only where there is no name"


@pytest.mark.parametrize("owner", NAMED)
@pytest.mark.parametrize("engine", ENGINES)
def test_kubernetes_names_from_others_than_who_sets_them(engine: str, owner: str) -> None:
    """`docker run --annotation io.kubernetes.cri.sandbox-namespace=kube-system` is in no namespace."""
    config = {"annotations": NAMED[owner]}
    for fact in ("namespace", "pod"):
        assert matches({fact: {"exists": True}}, config, engine=engine) is (engine == owner)
    assert matches({"container": "test"}, config, engine=engine) is (engine != owner)
    for key in NAMED[owner]:
        is_told = engine == owner or (engine == "kubernetes" and owner == "cri-o")
        assert matches({"annotation": key}, config, engine=engine) is is_told
        assert matches({"annotation": key.replace(".", "[.]")}, config, engine=engine) is is_told
        assert not matches({"label": key}, config, engine=engine)


def test_a_pod_can_not_name_itself_another_under_cri_o() -> None:
    """CRI-O puts a pod's annotations over its own; the kubelet's labels come last."""
    forged = {
        **NAMED["cri-o"],
        "io.kubernetes.cri-o.Namespace": "kube-system",
        "io.kubernetes.cri-o.KubeName": "kube-proxy",
        "io.kubernetes.cri-o.ContainerName": "POD",
        "io.kubernetes.cri-o.ImageName": "registry.k8s.io/pause",
        "io.kubernetes.cri.sandbox-namespace": "kube-system",
    }
    assert matches({"namespace": "shop", "pod": "web-0", "container": "web"}, {"annotations": forged}, engine="cri-o")
    assert not matches({"image": {"exists": True}}, {"annotations": forged}, engine="cri-o")


def test_match_sees_what_the_engine_wrote() -> None:
    first = document("a", merge={"hostname": "changed"})
    by_match = document("b", match={"field": "/hostname", "equals": "web"}, deny=[{"message": "still web"}])
    by_when = document("b", deny=[{"when": {"field": "/hostname", "equals": "changed"}, "message": "now changed"}])
    assert judged({"hostname": "web"}, first, by_match).denied.endswith("still web")
    assert judged({"hostname": "web"}, first, by_when).denied.endswith("now changed")


PATTERNS = [
    "^a+b?$",
    "[x-z]{2,}",
    "(a|b)(?P<n>c)(?P=n)",
    r"\d+\.\d",
    "(?i)ABC",
    "a(?!b)",
    "é|[^a-z]",
    ".*",
    r"(?:ab)*?c",
    r"\bx",
    "[α-ω]",
]


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from(PATTERNS), st.text("abcxyz0.9AéαB ", max_size=8))
def test_regular_expressions_are_pythons(pattern: str, text: str) -> None:
    stored = expressions.compiled(Node("f", pattern, 1, 1, ""))
    assert conditions.found_in(text, stored) == (re.search(pattern, text) is not None)
    assert conditions.is_all_of(text, stored) == (re.fullmatch(pattern, text) is not None)


SIZES = {
    "1k": 1000,
    "1K": 1000,
    "512M": 512 * 10**6,
    "1Gi": 2**30,
    "1.5Ki": 1536,
    "2T": 2 * 10**12,
    "3Pi": 3 * 2**50,
    "1E": 10**18,
    "4096": 4096,
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str) -> None:
    def holds(operator: str, value: Any) -> bool:
        return matches(
            {"field": "/linux/resources/memory/limit", operator: size},
            {"linux": {"resources": {"memory": {"limit": value}}}},
        )

    exact = SIZES[size]
    for operator, rows in {
        "less": (True, False, False),
        "notLess": (False, True, True),
        "greater": (False, False, True),
        "notGreater": (True, True, False),
    }.items():
        assert tuple(holds(operator, exact + by) for by in (-1, 0, 1)) == rows, operator
    assert not holds("greater", "9" * 30) and holds("notGreater", None)


@pytest.mark.parametrize(
    ("condition", "good", "bad"),
    [
        (
            {"engine": "docker", "label": "team"},
            [{"labels": {"team": "x"}}],
            [{}, {"labels": {"team": "x"}, "engine": "podman"}],
        ),
        (
            {"engine": ["docker", "podman"], "label": "team", "startsWith": "r", "image": {"matches": "^nginx"}},
            [{"labels": {"team": "red"}, "image": "nginx:1"}],
            [
                {"labels": {"team": "red"}},
                {"labels": {"team": "blue"}, "image": "nginx:1"},
                {"labels": {"team": "red"}, "image": "nginx", "engine": "cri-o"},
            ],
        ),
        (
            {"field": "/hostname", "equals": "h", "command": "run", "labels": {"a": "b"}},
            [{"command": "run", "labels": {"a": "b"}}],
            [{"labels": {"a": "b"}}, {"command": "run"}],
        ),
        ({"label": "a", "annotation": "note"}, [{"labels": {"a": ""}}], [{}]),
        (
            {"label": "a", "notEquals": "b", "none": {"container": "c"}},
            [{"labels": {}}],
            [{"container": "c"}, {"labels": {"a": "b"}}],
        ),
    ],
)
def test_several_subjects_in_one_condition(
    condition: dict[str, Any], good: list[dict[str, Any]], bad: list[dict[str, Any]]
) -> None:
    config = {"hostname": "h", "annotations": {"note": "n"}}
    for facts in good:
        assert matches(condition, config, **facts), facts
    for facts in bad:
        assert not matches(condition, config, **facts), facts
