"""The library: every policy compiles, its own tests pass, and it says what it breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookrun import policies
from hookrun.policies import compiler, testing, validation
from hookrun.policies.compiler import Source
from tests.policies.support import document

FILES = sorted((Path(policies.__file__).parent / "library").glob("*.yaml"))
SOURCES = [source for file in FILES for source in compiler.load(file.read_text(), str(file))]


def test_it_is_whole() -> None:
    assert {file.stem for file in FILES} == {
        "pod-security-baseline",
        "pod-security-restricted",
        "cis-docker",
        "read-only-network-files",
        "proxy-defaults",
        "no-engine-socket",
        "resource-ceilings",
        "no-new-privileges",
        "drop-net-raw",
        "hook-everywhere",
    }
    assert {file.stem for file in FILES} <= {source.name for source in compiler.ordered(SOURCES)}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_policy_of_the_library(source: Source) -> None:
    assert source.description and source.breaks
    outcomes = testing.run(source)
    assert outcomes
    assert not [outcome for outcome in outcomes if outcome.problem]


def test_what_they_make_is_a_config() -> None:
    assert validation.problems(SOURCES) == []


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("{denied: nope}", "it was denied with 'no way', not with 'nope'"),
        ("{changed: true}", "the config was not changed"),
        ("{denied: true}", ""),
        ("{denied: no way, matched: true}", ""),
        ("{matched: false}", "it matched"),
        ("{fields: {/a: 1}, denied: true}", "/a is None, not 1"),
        ("{hooks: {poststop: [/x]}, denied: true}", "the hooks of poststop are [], not ['/x']"),
        ("{error: true, denied: true}", "it was not an error"),
        ("{}", "t.yaml:1:"),
        ("{denid: x}", "did you mean 'denied'?"),
        ("{hooks: {}}", "it was denied: no way"),
    ],
)
def test_a_test_is_able_to_fail(expect: str, problem: str) -> None:
    text = document(deny=[{"message": "no way"}])[:-1] + f', "tests": [{{"name": "t", "expect": {expect}}}]}}'
    (source,) = compiler.load(text, "t.yaml")
    (outcome,) = testing.run(source)
    assert problem in outcome.problem if problem else not outcome.problem
