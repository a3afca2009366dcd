"""`start`: let the process of a created container run its program (runtime.md "Start")."""

from __future__ import annotations

from hookrun.runtime.container import container as containers
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.runtime.container.container import Container
    from hookrun.runtime.context import Context

_ENXIO = 6
_REFUSALS = {
    "stopped": "cannot start a container that has stopped",
    "running": "cannot start an already running container",
    "paused": "cannot start a container in the paused state",
}


def run(context: Context, options: dict[str, Any], arguments: list[str]) -> int:
    """Start the container `arguments[0]`. Raises Failure in runc's words."""
    container = containers.load(context.root, arguments[0])
    status = container.status()
    if status != "created":
        raise Failure(_REFUSALS[status])
    proxy = None
    if os.getenv("NOTIFY_SOCKET"):
        from hookrun.runtime.container import notify

        proxy = notify.Proxy(container.directory, os.getenv("NOTIFY_SOCKET"))
        proxy.bind()
    fifo = release(container)
    try:
        finish(context, container, fifo)
    except Failure:
        from hookrun.runtime.commands import delete

        delete.end(container, context)
        delete.destroy(context, container)
        raise
    if proxy is not None:
        proxy.forward_ready_of(container.init_pid, container.init_pid)
    return 0


def release(container: Container) -> int:
    """Wake the waiting process; returns the exec fifo, for `finish`. Raises Failure in runc's words."""
    path = f"{container.directory}/{containers.EXEC_FIFO}"
    try:
        # The waiting process has both ends open: no reader means no process.
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(fifo, b"0")
        os.unlink(path)
    except OSError as error:
        if error.errno == _ENXIO:
            raise Failure("container process is already dead") from None
        if isinstance(error, FileNotFoundError):
            raise Failure(_REFUSALS["running"]) from None
        raise Failure(f"exec fifo {path}: {reason(error)}") from None
    return fifo


def finish(context: Context, container: Container, fifo: int) -> None:
    """Run the poststart hooks once the process has become the container's program.

    Raises Failure where one fails: the container is to be ended and deleted then (runtime.md, lifecycle step 11).
    """
    if container.config_has_hooks("poststart"):
        _run_poststart(context, container, fifo)
    os.close(fifo)


def _run_poststart(context: Context, container: Container, fifo: int) -> None:
    import select

    from hookrun.runtime.container import hooks

    poll = select.poll()
    poll.register(fifo, 0)
    # The last reader goes with execve, or with the process.
    poll.poll()
    hooks.run_stage(container.config, "poststart", container.oci_state("running"), context.hook_results.append)
