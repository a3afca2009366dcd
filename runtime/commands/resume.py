"""`resume`: let the processes of a paused container go on (runc: pause.go)."""

from __future__ import annotations

from hookrun.runtime.commands.pause import with_rights
from hookrun.runtime.container import container as containers
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Thaw the container `arguments[0]`. Raises Failure."""
    container = containers.load(context.root, arguments[0])
    if container.status() != "paused":
        raise Failure("container not paused")
    with_rights(context, "resume", container.cgroups().thaw)
    return 0
