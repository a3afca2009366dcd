"""Another runtime in place of hookrun's own core."""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.spec import config as configs
from hookrun.wrapper import ownership
from hookrun.wrapper.cli.argv import Call


def demand_own(path: str) -> None:
    """Refuse a file that others could exchange between the policies' decision and the other runtime's reading.

    Raises Failure.
    """
    try:
        problem = ownership.exchangeable(path)
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    if problem:
        raise Failure(f"{problem}: the runtime behind hookrun could read another {path} than the policies judged")


def check_form(config: dict[str, Any]) -> None:
    """Refuse a config that another runtime could read otherwise than the policies do. Raises Failure."""
    configs.check_form(config)


def run(runtime: str, call: Call) -> NoReturn:
    """Become the runtime at the path `runtime`, with the same arguments, descriptors and environment.

    Raises Failure if it can't be executed.
    """
    named: str = call.globals["runtime-path"]
    if named and not named.startswith("/"):
        raise Failure(f"--runtime-path {named}: must be the absolute path of a runtime")
    arguments = [os.fsencode(runtime), *call.written()[1:]]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and execve would pass on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(runtime, arguments)
    except OSError as error:
        source = "--runtime-path" if named else "`runtime` in hookrun's settings"
        raise Failure(f"runtime {runtime}: {reason(error)}; see {source}") from None
