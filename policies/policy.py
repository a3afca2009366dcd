"""One policy in its compiled form. Each is marshalled by itself: only what a call's facts select is read at all."""

from __future__ import annotations

import marshal
from typing import Any

ENFORCE = "enforce"
AUDIT = "audit"
OFF = "off"
DENY = "deny"
ALLOW = "allow"
SEVERITIES = ("info", "low", "medium", "high", "critical")  # those of PolicyReport, wgpolicyk8s.io


class Policy:
    """A compiled policy.

    `match` is a condition or None. `denials` are (condition or None, message, see `messages`). `checks` and `changes`
    are the higher-level words as (function, argument), see `words`. `patch` are operations, see `patch`; `merge` is a
    merge patch or None. `hooks` are (stage, hook, line). `skips_updates`: nothing in it is about what `update` changes,
    and `match` names no command. `exceptions` are as `exceptions` has them. `owner` and `severity`, one of SEVERITIES,
    are "" where nobody said them.
    """

    __slots__ = (
        "changes",
        "checks",
        "denials",
        "exceptions",
        "file",
        "hooks",
        "line",
        "match",
        "merge",
        "mode",
        "name",
        "on_error",
        "owner",
        "patch",
        "severity",
        "skips_updates",
    )

    def __init__(
        self,
        name: str,
        mode: str,
        on_error: str,
        file: str,
        line: int,
        match: tuple[Any, ...] | None,
        denials: tuple[Any, ...],
        checks: tuple[Any, ...],
        changes: tuple[Any, ...],
        patch: tuple[Any, ...],
        merge: dict[str, Any] | None,
        hooks: tuple[Any, ...],
        skips_updates: bool,
        exceptions: tuple[Any, ...],
        owner: str,
        severity: str,
    ) -> None:
        self.name = name
        self.mode = mode
        self.on_error = on_error
        self.file = file
        self.line = line
        self.match = match
        self.denials = denials
        self.checks = checks
        self.changes = changes
        self.patch = patch
        self.merge = merge
        self.hooks = hooks
        self.skips_updates = skips_updates
        self.exceptions = exceptions
        self.owner = owner
        self.severity = severity

    def packed(self) -> bytes:
        return marshal.dumps(
            (
                self.name,
                self.mode,
                self.on_error,
                self.file,
                self.line,
                self.match,
                self.denials,
                self.checks,
                self.changes,
                self.patch,
                self.merge,
                self.hooks,
                self.skips_updates,
                self.exceptions,
                self.owner,
                self.severity,
            )
        )


def unpacked(data: bytes) -> Policy:
    """The policy that `Policy.packed` gave these bytes of."""
    return Policy(*marshal.loads(data))
