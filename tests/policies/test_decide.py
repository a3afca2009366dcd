"""Decisions: order, modes, errors, hooks, and what the record says of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.policies.support import document, judged

ADD: list[dict[str, Any]] = [{"op": "add", "path": "/hostname", "value": "patched"}]
MISSING: list[dict[str, Any]] = [{"op": "replace", "path": "/no/such", "value": 1}]


def test_nothing_matches() -> None:
    config = {"hostname": "h"}
    outcome = judged(config, document(match={"engine": "podman"}, patch=ADD))
    assert outcome.config is config
    assert outcome.decisions == []


def test_each_policy_goes_on_from_the_one_before() -> None:
    first = document("b", priority=1, patch=ADD)
    second = document("a", patch=[{"op": "test", "path": "/hostname", "value": "patched"}], merge={"domainname": "d"})
    outcome = judged({}, second, first)
    assert outcome.config == {"hostname": "patched", "domainname": "d"}
    assert [(one["policy"], one["action"]) for one in outcome.decisions] == [("b", "patched"), ("a", "patched")]


def test_the_first_denial_ends_it() -> None:
    outcome = judged({}, document("a", deny=[{"message": "no  \n way"}]), document("b", patch=ADD))
    assert outcome.denied == "policy a: no way"
    assert [one["action"] for one in outcome.decisions] == ["denied"]


def test_what_a_policy_changes_is_not_what_it_denies() -> None:
    text = document(deny=[{"when": {"field": "/hostname"}, "message": "a hostname"}], patch=ADD)
    assert judged({}, text).config == {"hostname": "patched"}


def test_audit() -> None:
    config = {"hostname": "h"}
    deny = document("a", mode="audit", deny=[{"message": "no"}])
    change = document("b", mode="audit", patch=ADD, hooks={"poststop": [{"path": "/x"}]})
    broken = document("c", mode="audit", patch=MISSING)
    passed = document("d", mode="audit", patch=[{"op": "test", "path": "/hostname", "value": "h"}])
    outcome = judged(config, deny, change, broken, passed)
    assert outcome.config is config
    assert not outcome.denied
    assert outcome.hooks == []
    assert {one["action"] for one in outcome.decisions} == {"audited"}
    messages = [one["message"] for one in outcome.decisions]
    assert messages[0] == "would be denied: no"
    assert messages[1] == "would be hooked: 1 hook"
    assert messages[2].startswith("would be denied: cannot be evaluated: patch: replace /no/such")
    assert messages[3] == "would be passed"


def test_on_error_deny_names_policy_and_path() -> None:
    outcome = judged({}, document(patch=MISSING))
    assert outcome.denied.startswith("policy one: cannot be evaluated: patch: replace /no/such: ")
    assert outcome.decisions[0]["action"] == "denied"


def test_on_error_allow_leaves_nothing_of_the_policy() -> None:
    config: dict[str, Any] = {}
    outcome = judged(config, document("a", onError="allow", patch=ADD + MISSING), document("b", merge={"x": 1}))
    assert not outcome.denied
    assert outcome.config == {"x": 1}
    assert [one["action"] for one in outcome.decisions] == ["error", "patched"]


def test_hooks() -> None:
    hook = {"path": "/bin/h", "args": ["h"], "timeout": 3}
    text = document(hooks={"createRuntime": [hook, {"path": "/bin/i"}], "poststop": [hook]})
    config = {"hooks": {"createRuntime": [{"path": "/engine"}, hook]}}
    outcome = judged(config, text)
    assert outcome.config["hooks"] == {
        "createRuntime": [{"path": "/engine"}, hook, {"path": "/bin/i"}],
        "poststop": [hook],
    }
    assert config == {"hooks": {"createRuntime": [{"path": "/engine"}, hook]}}
    assert outcome.hooks == [
        {"stage": "createRuntime", "path": "/bin/i", "source": "p.yaml", "line": 1, "policy": "one"},
        {"stage": "poststop", "path": "/bin/h", "source": "p.yaml", "line": 1, "policy": "one"},
    ]
    assert outcome.decisions[0]["action"] == "hooked"
    assert outcome.decisions[0]["message"] == "2 hooks"


def test_a_second_time_changes_nothing() -> None:
    text = document(
        hooks={"poststop": [{"path": "/h"}]}, merge={"a": {"b": 1}}, noNewPrivileges=True, env={"force": {"A": "1"}}
    )
    once = judged({"process": {"env": ["A=0"]}}, text).config
    assert judged(once, text).config is once


def test_the_record_of_a_decision() -> None:
    (decision,) = judged({}, document(patch=ADD)).decisions
    assert isinstance(decision.pop("ms"), float)
    assert decision == {
        "policy": "one",
        "mode": "enforce",
        "action": "patched",
        "message": "",
        "file": "p.yaml",
        "line": 1,
    }


@pytest.mark.parametrize(
    "config",
    [
        {"mounts": "x"},
        {"mounts": [1]},
        {"process": {"env": 3}},
        {"process": 1},
        {"linux": {"namespaces": [1]}},
        {"linux": []},
        {"hooks": {"poststop": {}}},
    ],
    ids=json.dumps,
)
def test_a_config_of_another_form_is_an_error_not_a_crash(config: dict[str, Any]) -> None:
    text = document(
        mounts={"forbid": [{"source": "/x"}], "add": [{"destination": "/x"}]},
        env={"force": {"A": "b"}},
        namespaces={"forbidHost": []},
        sysctl={"force": {"a": "b"}},
        hooks={"poststop": [{"path": "/x"}]},
    ).replace("[]", '["uts"]', 1)
    outcome = judged(config, text)
    assert outcome.denied


configs = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.sampled_from(["", "a", "/x", "CAP_KILL"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(
                [
                    "process",
                    "env",
                    "user",
                    "uid",
                    "mounts",
                    "source",
                    "options",
                    "linux",
                    "namespaces",
                    "type",
                    "sysctl",
                    "resources",
                    "memory",
                    "limit",
                    "hooks",
                    "annotations",
                    "capabilities",
                    "bounding",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)
EVERYTHING = document(
    match={
        "none": [{"annotation": "a.*", "equals": "zzz"}, {"image": {"matches": "zzz"}}, {"label": "x", "equals": "y"}]
    },
    onError="allow",
    deny=[{"when": {"field": "/mounts/*/options/*", "greater": 7}, "message": "m"}],
    env={"default": {"A": "1"}, "force": {"B": "2"}, "unset": ["C"]},
    mounts={"forbid": [{"source": "/never"}], "readOnly": [{"source": "/x"}], "add": [{"destination": "/y"}]},
    capabilities={"drop": ["KILL"], "allow": ["CHOWN"]},
    resources={"default": {"memory": 5, "cpus": 1}, "max": {"pids": 3}},
    sysctl={"default": {"a": "b"}, "forbid": ["q"]},
    annotations={"force": {"k": "v"}, "unset": ["w"]},
    user={"uids": ["0-4294967294"]},
    namespaces={"forbidHost": "time"},
    noNewPrivileges=True,
    hooks={"poststop": [{"path": "/h"}]},
)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.dictionaries(st.sampled_from(["process", "mounts", "linux", "hooks", "annotations"]), configs, max_size=5))
def test_no_config_is_changed_in_place_or_crashes_it(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    judged(config, EVERYTHING)
    assert config == before
