"""Whether what policies make of a config is still one: checked on samples, before the policies are in force."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from hookrun.policies import decide, match, policy, testing
from hookrun.policies.compiler import Source
from hookrun.policies.policy import Policy

_DIRECTORY = Path(__file__).parent / "schema"
SCHEMA = _DIRECTORY / "config.json"
SAMPLES = _DIRECTORY / "samples.json"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def faults(config: Any) -> list[str]:
    """What is wrong with a config by the schema: `/path: text` each."""
    errors = sorted(_validator().iter_errors(config), key=lambda error: [str(token) for token in error.absolute_path])
    return [f"/{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


@cache
def samples() -> dict[str, dict[str, Any]]:
    """Configs as engines write them: engine to config."""
    found: dict[str, dict[str, Any]] = json.loads(SAMPLES.read_text(encoding="utf-8"))
    return found


def problems(sources: Iterable[Source]) -> list[str]:
    """Lines on what policies make wrong of the samples: each by itself, whatever it matches, then all together.

    A policy that cannot be evaluated on a sample that it matches would deny every container like it.
    """
    active = [source.policy for source in sources if source.policy.mode != policy.OFF]
    found: list[str] = []
    for one in active:
        found += _of_one(one)
    return found or _of_all(active)


def _of_one(one: Policy) -> list[str]:
    """What the policy makes of the first sample that it changes, or cannot be evaluated on though it matches."""
    place = f"{one.file}:{one.line}:1"
    for engine, sample in samples().items():
        call = testing.invocation({"engine": engine})
        if refused := _unevaluated(one, sample, call):
            return [f"{place}: policy {one.name} would deny every container like {engine}'s: it {refused}"]
        config = decide.judge(_changing(one), sample, match.View(sample, call)).config
        if config is not sample:
            wrong = faults(config)[:1]
            return [f"{place}: policy {one.name} makes an invalid config of {engine}'s: {text}" for text in wrong]
    return []


def _unevaluated(one: Policy, sample: dict[str, Any], call: dict[str, Any]) -> str:
    """Why the policy would deny a call that it cannot be evaluated on, "" if it would not."""
    view = match.View(sample, call)
    if one.mode != policy.ENFORCE or not match.is_for(one, view):
        return ""
    step = decide.judge(one, sample, view)
    return decide.refusal(one, step) if step.fault else ""


def _of_all(active: list[Policy]) -> list[str]:
    enforced = [_changing(one) for one in active if one.mode == policy.ENFORCE]
    for engine, sample in samples().items():
        config = sample
        for turn in decide.turns(enforced, match.View(sample, testing.invocation({"engine": engine}))):
            config = turn.step.config
        wrong = faults(config)
        if wrong:
            return [f"all policies together make an invalid config of {engine}'s: {wrong[0]}"]
    return []


def _changing(one: Policy) -> Policy:
    """A policy that only changes, whatever it matches, is forbidden or excepted."""
    twin = copy.copy(one)
    twin.match = None
    twin.denials = twin.checks = twin.exceptions = ()
    twin.on_error = policy.ALLOW
    return twin
