"""`kill`: send a signal to the container's first process, or with --all to every one (runtime.md "Kill")."""

from __future__ import annotations

import os
import signal

from hookrun.runtime.container import container as containers
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import pids

_HIGHEST_SIGNAL = 64
_MOST_DIGITS = 18


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Send the signal `arguments[1]`, SIGTERM where none is given. Raises Failure in runc's words."""
    container = containers.load(context.root, arguments[0])
    number = parse_signal(arguments[1] if len(arguments) > 1 and arguments[1] else "SIGTERM")
    if options["all"] or (number == signal.SIGKILL and _is_many(container)):
        signal_all(context, container, number)
    else:
        signal_init(container, number)
    return 0


def _is_many(container: Container) -> bool:
    """Whether the first process's death would leave others: SIGKILL is meant for all (runc: Container.Signal)."""
    return not container.has_own_pid_namespace() and container.cgroups().exists()


def parse_signal(text: str) -> int:
    """The number of a signal given as a number or as a name with or without SIG. Raises Failure."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS:
        return int(text)
    name = text.upper()
    number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(number, int) or not 0 < number <= _HIGHEST_SIGNAL:
        raise Failure(f'unknown signal "{text}"')
    return number


def signal_init(container: Container, number: int) -> None:
    """Signal the container's first process, if it is still that one. Raises Failure."""
    pidfd = pids.open_if_alive(container.init_pid, container.init_start_time)
    if pidfd is None:
        raise Failure("container not running")
    try:
        pids.send_signal(pidfd, number)
    except OSError as error:
        raise Failure(f"unable to signal init: {reason(error)}") from None
    except OverflowError:
        raise Failure("unable to signal init: invalid argument") from None
    finally:
        os.close(pidfd)
    if number == signal.SIGKILL:
        _thaw(container)


def _thaw(container: Container) -> None:
    """On v1 a frozen process does not die: killing a paused container lets it go on, to its end."""
    if container.is_frozen():
        container.cgroups().thaw()


def signal_all(context: Context, container: Container, number: int) -> None:
    """Signal every process of the container; a stopped one may have some left. Raises Failure.

    One that has none, and no cgroup any more, is no error. Without a cgroup that ever was, as an ordinary user's
    container may be, the first process is all that is known (runc 1.5: Container.Signal).
    """
    manager = container.cgroups()
    if manager.exists():
        manager.signal_all(number, context.log)
    elif container.status() != "stopped":
        signal_init(container, number)
