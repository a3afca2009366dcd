"""What policies and hooks decided about a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hookrun.runtime.rootfs.judged import Judged


class Verdict:
    """What was decided. `config` is the config to run with, the very object that came in where nothing changes.

    `decisions` and `hooks` are for the record: which policy did what in how many milliseconds, and which hook comes
    from where; so is what `sources` gives: what the mounts' sources are. `denied` is the message of the policy that
    forbids the call. `judged` is for the core. `told` is "image" and "labels" from the engine's own
    records, None where no policy asked for them.
    """

    __slots__ = ("config", "decisions", "denied", "hooks", "judged", "sources", "told")

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.decisions: list[dict[str, Any]] = []
        self.hooks: list[dict[str, Any]] = []
        self.denied = ""
        self.told: dict[str, Any] | None = None
        self.judged = Judged()
        self.sources: Callable[[], dict[str, Any]] = dict
