"""What an export is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hookrun.policies.policy import Policy
from hookrun.wrapper.admin.trace.store import Names, Query, Store
from hookrun.wrapper.record.line import Line


@dataclass(frozen=True)
class Selection:
    """The calls of a record that a query asks for.

    `last` is how many of the newest, None for all. What sums up by container does so for these `containers` alone, None
    for all. `policies` are those in force, by their names.
    """

    store: Store
    query: Query
    last: int | None = None
    containers: set[str] | None = None
    policies: dict[str, Policy] = field(default_factory=dict)

    def calls(self) -> Iterator[Line]:
        """The calls, the oldest first, each with the name of its container."""
        names = Names(self.store)
        return (names.on(call) for call in self.store.select(self.query, self.last))


Exporter = Callable[[Selection], Iterator[str]]
"""What every format is: it gives the text in pieces."""
