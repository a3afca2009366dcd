"""`checkpoint`: its flags are understood; the command itself is not there yet."""

from __future__ import annotations

from hookrun.runtime.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.runtime.context import Context


def run(context: Context, options: dict[str, Any], arguments: list[str]) -> int:
    """Always raises Failure: engines are told plainly that this runtime has no checkpoints."""
    raise Failure("checkpoint is not there yet in hookrun: use a profile that delegates to runc for it")
