"""`pause`: stop every process of a container (runc: pause.go)."""

from __future__ import annotations

from typing import Any

from hookrun.runtime.cgroups.files import DENIED, FileError
from hookrun.runtime.container import container as containers
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Freeze the container `arguments[0]`; returns once its processes stand still. Raises Failure."""
    container = containers.load(context.root, arguments[0])
    if container.status() not in ("created", "running"):
        raise Failure("container not running")
    with_rights(context, "pause", container.cgroups().freeze)
    return 0


def with_rights(context: Context, command: str, action: Any) -> Any:
    """The result of `action`; where the kernel denies it, a warning says what the user may lack. Raises Failure."""
    try:
        return action()
    except FileError as error:
        if error.errno in DENIED:
            context.log.warning(f"runc {command} failure might be caused by lack of full access to cgroups")
        raise
