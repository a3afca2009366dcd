"""`start`: let the process of a created container run its program (runtime.md "Start")."""

from __future__ import annotations

import os

from hookrun.runtime.container import container as containers
from hookrun.runtime.container import life, notify
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Start the container `arguments[0]`. Raises Failure in runc's words."""
    container = containers.load(context.root, arguments[0])
    status = container.status()
    if status != "created":
        raise Failure(life.REFUSALS[status])
    proxy = None
    if host := os.getenv("NOTIFY_SOCKET"):
        proxy = notify.Proxy(container.directory, host)
        proxy.bind()
    fifo = life.release(container)
    try:
        life.finish(context, container, fifo)
    except Failure:
        life.end(container, context)
        life.destroy(context, container)
        raise
    if proxy is not None:
        proxy.forward_ready_of(container.init_pid, container.init_pid)
    return 0
