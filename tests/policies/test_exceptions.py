"""Exceptions: who is let through, until when, and what is said of it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from hookrun.policies import compiler, exception_lint, plausible, testing
from hookrun.policies.document import Invalid
from tests.policies.support import document, judged

HEAD = "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: one}\n"
NO = [{"message": "no"}]
DAY = 86400


def excepting(until: str | None = None, **others: Any) -> str:
    exception = {"match": {"container": "old"}, "reason": "it is \n legacy", **({"until": until} if until else {})}
    return document(**{"deny": NO, "exceptions": [exception], **others})


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_one_is_let_through_and_all_others_are_not() -> None:
    text = excepting(hooks={"poststop": [{"path": "/x"}]})
    outcome = judged({}, text, container="old")
    assert (outcome.denied, outcome.hooks, outcome.config) == ("", [], {})
    (decision,) = outcome.decisions
    assert (decision["action"], decision["message"]) == ("exempt", "exception in line 1, without end: it is legacy")
    assert decision["exception"] == {"line": 1, "reason": "it is legacy", "until": "", "ended": False}
    outcome = judged({}, text, container="other")
    assert outcome.denied == "policy one: no"
    assert "exception" not in outcome.decisions[0]


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_in_each_mode_it_is_exempt(mode: str) -> None:
    outcome = judged({}, excepting(mode=mode), document("two", merge={"hostname": "h"}), container="old")
    assert [one["action"] for one in outcome.decisions] == ["exempt", "patched"]


# The last second of it, in UTC.
ENDS = {
    "2026-11-28": "2026-11-28T23:59:59+00:00",
    "2026-11-28T12:00:00Z": "2026-11-28T11:59:59+00:00",
    "2026-11-28t12:00z": "2026-11-28T11:59:59+00:00",
    "2026-11-28 12:00:00+14:00": "2026-11-27T21:59:59+00:00",
    "2026-11-28T12:00:00-12:00": "2026-11-28T23:59:59+00:00",
    "2024-02-29": "2024-02-29T23:59:59+00:00",
    "9999-12-31": "9999-12-31T23:59:59+00:00",
}


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Adak"])
@pytest.mark.parametrize("until", ENDS)
def test_the_end_is_the_same_second_in_each_time_zone(until: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        last = seconds(ENDS[until])
        text = excepting(until)
        assert not judged({}, text, container="old", time=last).denied
        outcome = judged({}, text, container="old", time=last + 1)
        unquoted = f"{HEAD}spec:\n  exceptions:\n    - {{match: {{container: old}}, reason: r, until: {until}}}\n"
        assert compiler.load(unquoted, "p.yaml")[0].policy.exceptions[0][2] == last + 1
    finally:
        monkeypatch.undo()
        time.tzset()
    assert outcome.denied == f"policy one: no (its exception in line 1 ended: {until})"
    assert outcome.decisions[0]["action"] == "denied"
    assert outcome.decisions[0]["exception"]["ended"] is True


def test_it_ends_by_itself_without_a_new_plan() -> None:
    plan_text = excepting(datetime.fromtimestamp(time.time() + 1.2, UTC).isoformat(timespec="seconds"))
    assert not judged({}, plan_text, container="old").denied
    time.sleep(1.3)
    assert judged({}, plan_text, container="old").denied


def test_an_exception_that_goes_on_beats_one_that_ended() -> None:
    both = [
        {"match": {"engine": "docker"}, "reason": name, **end}
        for name, end in (("first", {"until": "2001-01-01"}), ("second", {}))
    ]
    outcome = judged({}, document(deny=NO, exceptions=both))
    assert outcome.decisions[0]["message"] == "exception in line 1, without end: second"


def test_it_looks_at_the_config_as_the_engine_wrote_it() -> None:
    first = document("a", merge={"hostname": "forged"})
    second = document("b", deny=NO, exceptions=[{"match": {"field": "/hostname", "equals": "forged"}, "reason": "r"}])
    assert judged({"hostname": "h"}, first, second).denied == "policy b: no"


def test_what_cannot_be_evaluated() -> None:
    broken: dict[str, Any] = {"patch": [{"op": "remove", "path": "/no/such"}]}
    assert not judged({}, excepting(deny=[], **broken), container="old").denied, "an exempt call is not evaluated"
    outcome = judged({}, excepting("2001-01-01", deny=[], **broken), container="old")
    assert outcome.denied.startswith("policy one: cannot be evaluated: ")
    assert outcome.denied.endswith("(its exception in line 1 ended: 2001-01-01)")
    outcome = judged({}, excepting("2001-01-01", deny=[], onError="allow", **broken), container="old")
    assert (outcome.denied, outcome.decisions[0]["action"]) == ("", "error")


@pytest.mark.parametrize("action", ["deny", "allow"])
def test_an_exception_that_cannot_be_evaluated_exempts_nobody(action: str) -> None:
    exceptions = [{"match": {"mount": {"type": "bind"}}, "reason": "r"}]
    outcome = judged({"mounts": [{"options": 5}]}, document(onError=action, deny=NO, exceptions=exceptions))
    assert bool(outcome.denied) is (action == "deny")
    assert outcome.decisions[0]["action"] == ("denied" if action == "deny" else "error")


def test_the_facts_that_it_asks_for_are_found_out() -> None:
    exceptions = [{"match": [{"image": "i"}, {"label": "l"}], "reason": "r"}]
    (source,) = compiler.load(document(deny=NO, exceptions=exceptions), "p.yaml")
    assert compiler.plan([source])["asks"] == ["image", "label"]


WRONG = [
    ("[{match: {engine: docker}}]", "5:16", "reason is missing"),
    ("[{reason: r}]", "5:16", "match is missing"),
    ("[{match: {}, reason: r}]", "5:24", "it is empty"),
    ("[{match: {engine: docker}, reason: ' '}]", "5:50", "it is empty: why"),
    (
        "[{match: {engine: docker}, reason: r, until: 2026-02-30}]",
        "5:60",
        "there is no 2026-02-30",
    ),
    ("[{match: {engine: docker}, reason: r, until: tomorrow}]", "5:60", "invalid date 'tomorrow': write 2027-01-31"),
    ("[{match: {engine: docker}, reason: r, until: 20270131}]", "5:60", "it must be a string"),
    ("[{match: {engine: docker}, reason: r, until: 2026-W05-1}]", "5:60", "invalid date"),
    ("[{match: {engine: docker}, reason: r, until: 2026-01-31T12:00:00}]", "5:60", "it has no time zone"),
    ("[{match: {engine: docker}, reason: r, till: x}]", "5:53", "there is no 'till' here; did you mean 'until'?"),
    ("{match: {engine: docker}, reason: r}", "5:15", "it must be a list"),
]


@pytest.mark.parametrize(("text", "place", "message"), WRONG)
def test_what_is_wrong(text: str, place: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        compiler.load(f"{HEAD}spec:\n  exceptions: {text}\n", "p.yaml")
    assert caught.value.text.startswith(f"p.yaml:{place}: ") and message in caught.value.text


def found(*exceptions: dict[str, Any], **spec: Any) -> tuple[list[str], list[str]]:
    (source,) = compiler.load(document(deny=NO, exceptions=list(exceptions), **spec), "p.yaml")
    return [doubt.text for doubt in plausible.findings(source)], exception_lint.notes(source)


def test_lint() -> None:
    narrow = {"match": {"namespace": "shop"}, "reason": "r"}
    soon = datetime.fromtimestamp(time.time() + 3 * DAY, UTC).date().isoformat()
    far = datetime.fromtimestamp(time.time() + 90 * DAY, UTC).date().isoformat()
    assert found({**narrow, "until": far}) == ([], [])
    (doubt,), _ = found({**narrow, "until": "2020-01-01"})
    assert "spec.exceptions[0].until: the exception ended, 2020-01-01" in doubt
    assert "has no end: add `until`" in found(narrow)[1][0]
    assert f"ends in 4 days, {soon}" in found({**narrow, "until": soon})[1][0]
    assert "did you mean 'docker'?" in found({"match": {"engine": "dokcer"}, "reason": "r"})[0][0]
    for claimed in ({"label": "a"}, {"none": {"annotations": {"b": "x"}}}):
        assert "whoever starts a container can claim them" in found({"match": claimed, "reason": "r"})[1][1]


@pytest.mark.parametrize(
    ("exception", "spec"),
    [
        ({"field": "/process"}, {}),
        ({"none": {"field": "/annotations/x"}}, {}),
        ({"engine": {"matches": "."}}, {}),
        ({"engine": ["podman", "docker"]}, {"match": {"engine": "podman"}}),
        ({"namespace": "shop"}, {"match": {"namespace": "shop"}}),
    ],
)
def test_one_that_leaves_nothing_of_the_policy(exception: dict[str, Any], spec: dict[str, Any]) -> None:
    doubts, _ = found({"match": exception, "reason": "r"}, **spec)
    assert any("spec.exceptions[0].match: it is for every" in doubt for doubt in doubts)


def test_tests_of_policies_know_exceptions_and_the_time() -> None:
    call = {"container": "old", "time": "2026-11-28T12:00:00Z"}
    rows = [
        (call, {"exempt": "legacy"}, ""),
        (call, {"exempt": "other"}, "it was exempt with 'it is legacy', not with 'other'"),
        (call, {"exempt": False}, "it was exempt: it is legacy"),
        (
            {**call, "time": "2026-11-30"},
            {"denied": "no (its exception"},
            "it was denied with 'no', not with 'no (its exception'",
        ),
        ({**call, "time": "2026-11-30"}, {"denied": "no", "exempt": True}, "it was not exempt"),
        ({**call, "time": "2026-11-29T23:59:59Z"}, {"exempt": True}, ""),
        ({**call, "time": "noon"}, {"exempt": True}, "invalid date 'noon'"),
    ]
    tests = [
        {"name": str(number), "invocation": made, "expect": expect} for number, (made, expect, _) in enumerate(rows)
    ]
    text = excepting("2026-11-29").removesuffix("}") + f', "tests": {json.dumps(tests)}' + "}"
    (source,) = compiler.load(text, "p.yaml")
    for outcome, (_, _, problem) in zip(testing.run(source), rows, strict=True):
        assert problem in outcome.problem and bool(problem) is bool(outcome.problem), outcome
