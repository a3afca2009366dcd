"""Counts and percentiles over the record: `hookctl trace stats`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hookrun.wrapper.admin.trace.index import Effect, Index
from hookrun.wrapper.admin.trace.store import Query

_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_MIDDLE = 0.5


@dataclass(frozen=True)
class _Source:
    """A table of timed things: what they are grouped by, and what is counted of them, by name, as SQL conditions."""

    table: str
    keys: tuple[str, ...]
    counted: dict[str, str]


_CALLS = _Source("calls", ("engine", "command"), {"failed": "failed", "denied": "denied", "audited": "audited"})
_HOOKS = _Source("hooks", ("path", "stage"), {"failed": "failed"})
_POLICIES = _Source(
    "policies", ("policy",), {"denied": f"effect = '{Effect.denied}'", "audited": f"effect = '{Effect.would_deny}'"}
)

Row = dict[str, Any]


def calls(index: Index, query: Query) -> list[Row]:
    """By engine and command: count, failed, denied of these, audited, p50, p95, p99 and max in milliseconds."""
    return _Timed(index, _CALLS, *query.condition()).rows()


def hooks(index: Index, query: Query) -> list[Row]:
    """By hook and stage, the slowest first."""
    return _slowest(index, _HOOKS, query)


def policies(index: Index, query: Query) -> list[Row]:
    """By policy, the slowest first; `audited` counts the calls that it would have denied if its mode were not audit."""
    return _slowest(index, _POLICIES, query)


def _slowest(index: Index, source: _Source, query: Query) -> list[Row]:
    where, values = query.condition()
    condition = "1" if query.is_empty else f"call IN (SELECT calls.key FROM calls WHERE {where})"
    return sorted(_Timed(index, source, condition, values).rows(), key=lambda row: -(row["p95"] or 0))


@dataclass(frozen=True)
class _Timed:
    """What of a source fulfils `where`, an SQL condition with its values."""

    index: Index
    source: _Source
    where: str
    values: list[Any]

    def rows(self) -> list[Row]:
        """A row for each group."""
        keys, counted = self.source.keys, self.source.counted
        names = ", ".join(keys)
        sums = ", ".join(f"sum({condition})" for condition in counted.values())
        groups = self.index.database.execute(
            f"SELECT {names}, max(ms), count(ms), count(*), {sums} FROM {self.source.table}"
            f" WHERE {self.where} GROUP BY {names} ORDER BY {names}",
            self.values,
        ).fetchall()
        rows = []
        for group in groups:
            found, (longest, timed, *counts) = group[: len(keys)], group[len(keys) :]
            row: Row = dict(zip((*keys, "count", *counted), (*found, *counts), strict=True))
            shares = {name: self._percentile(found, timed, share) for name, share in _SHARES.items()}
            rows.append(row | shares | {"max": longest})
        return rows

    def _percentile(self, group: list[Any], timed: int, share: float) -> float | None:
        """The nearest-rank percentile, exact: the index of the group is in the order of milliseconds.

        It is walked from the nearer end.
        """
        if not timed:
            return None
        rank = max(0, math.ceil(timed * share) - 1)
        order, steps = ("ms", rank) if share <= _MIDDLE else ("ms DESC", timed - 1 - rank)
        same = " AND ".join(f"{name} = ?" for name in self.source.keys)
        condition = f"{same} AND ms IS NOT NULL AND ({self.where})"
        query = f"SELECT ms FROM {self.source.table} WHERE {condition} ORDER BY {order} LIMIT 1 OFFSET ?"
        (found,) = self.index.database.execute(query, (*group, *self.values, steps)).fetchone()
        return float(found)
