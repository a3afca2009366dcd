"""`checkpoint`: save a container's processes to files, and end it unless it is to go on (runc: checkpoint.go)."""

from __future__ import annotations

from hookrun.runtime.container import container as containers
from hookrun.runtime.container import life
from hookrun.runtime.context import Context, Options
from hookrun.runtime.criu import flags
from hookrun.runtime.errors import Failure


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Checkpoint the container `arguments[0]`. Raises Failure; the container goes on then."""
    container = containers.load(context.root, arguments[0])
    flags.demand_root("checkpoint")
    status = container.status()
    if status in ("created", "stopped"):
        raise Failure(f"Container cannot be checkpointed in {status} state")
    flags.check(options)
    from hookrun.runtime.criu.dump import Dump  # raises Failure on a host without protobuf

    Dump(context, container, options).run()
    if not (options["leave-running"] or options["pre-dump"]):
        life.destroy(context, container)
    return 0
