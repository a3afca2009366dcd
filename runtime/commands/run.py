"""`run`: create, start and, without --detach, stay with a container (runc: run.go)."""

from __future__ import annotations

import os

from hookrun.runtime.container import life
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import attributes
from hookrun.runtime.process.creation import Creation, Request
from hookrun.runtime.process.foreground import Foreground


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run a container; returns its process's exit status, 0 with --detach. Raises Failure."""
    try:
        return _run(context, options, arguments[0])
    except Failure as failure:
        raise Failure(f"runc run failed: {failure.text}", failure.status) from None


def _run(context: Context, options: Options, container_id: str) -> int:
    request = Request(options, container_id, detach=options["detach"])
    if not options["no-subreaper"]:
        attributes.set_child_subreaper()
    watcher = None
    if not request.detach:
        watcher = Foreground()
    creation = Creation(context, request)
    proxy = creation.notify_proxy()
    container, child = creation.run()
    try:
        if proxy is not None:
            proxy.bind()
        life.finish(context, container, life.release(container))
        if proxy is not None:
            proxy.forward_ready(child.pidfd, child.pid if request.detach else os.getpid())
        if watcher is None:
            return 0
        status = watcher.watch(child.pid, child.pidfd, creation.pty_line)
    except BaseException:
        child.kill()
        life.destroy(context, container)
        raise
    if not options["keep"]:
        life.destroy(context, container)
    return status
