"""`exec`: run one more process in a container (runc: exec.go)."""

from __future__ import annotations

from typing import Any

from hookrun.runtime.container import container as containers
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure
from hookrun.runtime.process import exec_process, execution
from hookrun.runtime.process.foreground import Foreground

_FAILED = 255


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run a process; returns its exit status, 0 with --detach. Raises Failure with status 255."""
    try:
        return _run(context, options, arguments)
    except Failure as failure:
        raise Failure(f"exec failed: {failure.text}", _FAILED) from None


def _run(context: Context, options: Options, arguments: list[str]) -> int:
    container = containers.load(context.root, arguments[0])
    _check_status(container, ignore_paused=options["ignore-paused"])
    if not options["process"] and len(arguments) == 1:
        raise Failure("process args cannot be empty")
    process = context.process or read_process(container, options, context.given, arguments)
    if options["process"] and not context.is_process_judged:
        process = exec_process.completed(process, container.config["process"])
    request = execution.Request(options)
    watcher = None
    if not request.detach:
        watcher = Foreground()
    started = execution.Execution(context, container, process, request)
    child = started.run()
    if watcher is None:
        return 0
    return watcher.watch(child.pid, child.pidfd, started.pty_line)


def read_process(container: Container, options: Options, given: set[str], arguments: list[str]) -> dict[str, Any]:
    """The process that the command line asks for, from --process or from its flags. Raises Failure."""
    if options["process"]:
        return exec_process.process_from_file(options["process"])
    return exec_process.process_from_flags(container.config["process"], options, given, arguments[1:])


def _check_status(container: Container, *, ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped":
        raise Failure("cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise Failure("cannot exec in a paused container (use --ignore-paused to override)")
