"""Policies written short, for tests."""

from __future__ import annotations

import json
from typing import Any

from hookrun.policies import compiler, decide, testing
from hookrun.policies.decide import Outcome

Config = dict[str, Any]


def document(name: str = "one", **spec: Any) -> str:
    """A policy's text; JSON is YAML."""
    return json.dumps({"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": name}, "spec": spec})


def plan(*documents: str) -> decide.Plan:
    """The compiled policies of some texts."""
    return compiler.plan([source for text in documents for source in compiler.load(text, "p.yaml")])


def judged(config: Config, *documents: str, **invocation: Any) -> Outcome:
    """What policies decide on a config."""
    return decide.decide(plan(*documents), config, testing.invocation(invocation))


def matches(condition: Any, config: Config | None = None, **invocation: Any) -> bool:
    """Whether a condition holds: through the whole of compiler, index and decision."""
    text = document(match=condition, deny=[{"message": "it matched"}])
    return bool(judged(config or {}, text, **invocation).denied)
