"""`create`: everything up to the point where the container's process waits for `start` (runtime.md "Create")."""

from __future__ import annotations

from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure
from hookrun.runtime.process.creation import Creation, Request


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make a container. Raises Failure, with nothing left behind."""
    try:
        Creation(context, Request(options, arguments[0], detach=True, waits=True)).run()
    except Failure as failure:
        raise Failure(f"runc create failed: {failure.text}", failure.status) from None
    return 0
