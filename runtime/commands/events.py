"""`events`: a container's statistics, and word of every process killed for want of memory (runc: events.go)."""

from __future__ import annotations

import os
import time
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import rdt
from hookrun.runtime.cgroups.oom import Listener
from hookrun.runtime.container import container as containers
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure

_NANOSECONDS = 1_000_000_000


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print events as lines of JSON, one with --stats, or else until the cgroup is gone. Raises Failure."""
    container = containers.load(context.root, arguments[0])
    if options["interval"] <= 0:
        raise Failure("duration interval must be greater than 0")
    if container.status() == "stopped":
        raise Failure(f"container with id {container.id} is not running")
    if options["stats"]:
        _print(container, "stats", stats(container))
    else:
        _stream(context, container, options["interval"] / _NANOSECONDS)
    return 0


def stats(container: Container) -> dict[str, Any]:
    """The `data` object of a stats event. Raises Failure."""
    try:
        numbers = container.cgroups().stats()
    except Failure as error:
        raise Failure(f"unable to get container cgroup stats: {error.text}") from None
    path = container.state.get("intel_rdt_path")
    if path:
        numbers["intel_rdt"] = rdt.stats(path, container.id)
    return numbers


def _stream(context: Context, container: Container, interval: float) -> None:
    if container.state["config"]["cgroups"].get("Rootless"):
        context.log.warning("getting OOM notifications may fail if you don't have the full access to cgroups")
    listener = Listener(container.cgroups().paths)
    try:
        due = time.monotonic() + interval
        while not listener.ended:
            if listener.wait(max(0.0, due - time.monotonic())):
                _print(container, "oom", None)
            if not listener.ended and time.monotonic() >= due:
                due += interval
                _try_to_print(context, container)
    finally:
        listener.close()


def _try_to_print(context: Context, container: Container) -> None:
    try:
        _print(container, "stats", stats(container))
    except Failure as error:
        context.log.error(error.text)


def _print(container: Container, kind: str, data: dict[str, Any] | None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container.id}
    if data is not None:
        event["data"] = data
    line = f"{jsonio.dumps(event)}\n".encode()
    while line:
        line = line[os.write(1, line) :]
