"""Where policies and hooks meet a call: what is changed about the container, and whether it may run at all."""

from __future__ import annotations

from hookrun.wrapper.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.wrapper.argv import Call
    from hookrun.wrapper.bundle import Bundle


def decide(call: Call, bundle: Bundle, snapshot: dict[str, Any] | None) -> Verdict:
    """Apply the snapshot's policies and hooks, and those of --hook-config-path, to the bundle's config.

    `bundle.config` is not changed in place.
    """
    return Verdict(bundle.config)
