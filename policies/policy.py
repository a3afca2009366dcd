"""One policy in its compiled form. Each is marshalled by itself: only what a call's facts select is read at all."""

from __future__ import annotations

import marshal
from dataclasses import dataclass, fields
from typing import Any

ENFORCE = "enforce"
AUDIT = "audit"
OFF = "off"
DENY = "deny"
ALLOW = "allow"
SEVERITIES = ("info", "low", "medium", "high", "critical")  # those of PolicyReport, wgpolicyk8s.io


@dataclass(slots=True)
class Policy:
    """A compiled policy.

    `match` is a condition or None. `denials` are (condition or None, message, see `messages`). `checks` and `changes`
    are the higher-level words as (function, argument), see `words`. `patch` are operations, see `patch`; `merge` is a
    merge patch or None. `hooks` are (stage, hook, line). `skips_updates`: nothing in it is about what `update` changes,
    and `match` names no command. `exceptions` are as `exceptions` has them. `owner` and `severity`, one of SEVERITIES,
    are "" where nobody said them.
    """

    name: str
    mode: str
    on_error: str
    file: str
    line: int
    match: tuple[Any, ...] | None
    denials: tuple[Any, ...]
    checks: tuple[Any, ...]
    changes: tuple[Any, ...]
    patch: tuple[Any, ...]
    merge: dict[str, Any] | None
    hooks: tuple[Any, ...]
    skips_updates: bool
    exceptions: tuple[Any, ...]
    owner: str
    severity: str

    def packed(self) -> bytes:
        """The policy's bytes in the snapshot: its fields in their order."""
        return marshal.dumps(tuple(getattr(self, one.name) for one in fields(self)))


def unpacked(data: bytes) -> Policy:
    """The policy that `Policy.packed` gave these bytes of."""
    return Policy(*marshal.loads(data))
