"""What policies did and, in audit mode, would have done, summed up over the record: `hookctl report`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hookrun.runtime.container import container as containers
from hookrun.runtime.context import default_root
from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin.trace.index import Effect, Index
from hookrun.wrapper.admin.trace.store import Query

# What an example is wanted of first.
_WEIGHTY = (
    Effect.denied,
    Effect.would_deny,
    Effect.exempt,
    Effect.changed,
    Effect.would_change,
    Effect.none,
)
_COUNTED = (Effect.denied, Effect.would_deny, Effect.changed, Effect.would_change)
_MAKING = "command IN ('create', 'run', 'restore')"


@dataclass
class Said:
    """What was decided about the calls of one policy or of one container. Times are seconds since 1970."""

    calls: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    counts: dict[Effect, int] = field(default_factory=lambda: dict.fromkeys(Effect, 0))
    first: float = 0.0
    last: float = 0.0
    example: str = ""
    _weight: int = len(_WEIGHTY)

    def add(self, call: str, time: float, effect: Effect, name: str) -> None:
        """Count one decision; they come in the order of time. `name` is of the other kind: container or policy."""
        self.first = self.first or time
        self.last = time
        self.calls.add(call)
        self.names.add(name)
        self.counts[effect] += 1
        if _WEIGHTY.index(effect) <= self._weight:
            self._weight, self.example = _WEIGHTY.index(effect), call

    @property
    def is_to_tell(self) -> bool:
        """Whether anything was refused or changed, or would have been."""
        return any(self.counts[effect] for effect in _COUNTED)

    @property
    def gravest(self) -> Effect:
        """What weighs most of all that was decided."""
        return _WEIGHTY[self._weight]

    def values(self) -> dict[str, Any]:
        """Numbers of decisions by effect, when, and the newest call of the gravest effect."""
        counts = {str(effect): self.counts[effect] for effect in _COUNTED}
        return {"calls": len(self.calls), **counts, "first": self.first, "last": self.last, "example": self.example}


@dataclass
class Report:
    """By policy's name, by container's id (with its engine), and by both."""

    policies: dict[str, Said] = field(default_factory=dict)
    containers: dict[str, Said] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    pairs: dict[tuple[str, str], Said] = field(default_factory=dict)


def report(index: Index, query: Query, only: set[str] | None) -> Report:
    """Sum up the decisions on the calls asked for; `only` names the containers to look at, None all."""
    made = Report()
    for policy, effect, call, time, container, engine in _decisions(index, query):
        if only is not None and container not in only:
            continue
        made.policies.setdefault(policy, Said()).add(call, time, Effect(effect), container)
        made.containers.setdefault(container, Said()).add(call, time, Effect(effect), policy)
        made.pairs.setdefault((policy, container), Said()).add(call, time, Effect(effect), container)
        made.engines[container] = engine
    return made


def _decisions(index: Index, query: Query) -> Iterator[tuple[str, str, str, float, str, str]]:
    where, values = query.condition()
    yield from index.database.execute(
        "SELECT policies.policy, policies.effect, calls.id, calls.time, containers.name, calls.engine"
        " FROM policies JOIN calls ON calls.key = policies.call JOIN containers ON containers.key = calls.container"
        f" WHERE calls.key IN (SELECT calls.key FROM calls WHERE {where}) AND ? IN ('', policies.policy)"
        " ORDER BY calls.time, calls.key",
        [*values, query.policy],
    )


def running(index: Index) -> set[str]:
    """The recorded containers that live on this host now, by the state under the root that they were made with."""
    made = index.database.execute(
        "SELECT DISTINCT containers.name, calls.root FROM calls JOIN containers ON containers.key = calls.container"
        f" WHERE {_MAKING}"
    )
    return {name for name, root in made if _lives(root or default_root(), name)}


def _lives(root: str, name: str) -> bool:
    if not name or not os.path.isdir(os.path.join(root, name)):
        return False
    try:
        return containers.load(root, name).status() != "stopped"
    except Failure:
        return True  # the state of another runtime, which removes the directory with the container
