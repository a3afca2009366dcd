"""`restore`: bring a container back from a checkpoint and, without --detach, stay with it (runc: restore.go)."""

from __future__ import annotations

from hookrun.runtime.container import life
from hookrun.runtime.context import Context, Options
from hookrun.runtime.criu import flags
from hookrun.runtime.linux import attributes
from hookrun.runtime.process.creation import Request
from hookrun.runtime.process.foreground import Foreground


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Restore a container; returns its process's exit status, 0 with --detach. Raises Failure, all undone."""
    flags.demand_root("restore")
    flags.check(options)
    from hookrun.runtime.criu.restoration import Restoration  # raises Failure on a host without protobuf

    request = Request(options, arguments[0], detach=options["detach"])
    if not options["no-subreaper"]:
        attributes.set_child_subreaper()
    watcher = None if request.detach else Foreground()
    restoration = Restoration(context, request, options)
    container, child = restoration.run()
    if watcher is None:
        return 0
    try:
        status = watcher.watch(child.pid, child.pidfd, restoration.pty_line)
    except BaseException:
        child.kill()
        life.destroy(context, container)
        raise
    life.destroy(context, container)
    return status
