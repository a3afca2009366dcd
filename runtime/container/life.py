"""What happens to a container once it is made: it is let go, ended and taken away (runtime.md "Lifecycle")."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Callable, Mapping
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import rdt
from hookrun.runtime.cgroups.files import FileError
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.container import directory, hooks
from hookrun.runtime.container.container import EXEC_FIFO, Container
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import kernel_log, pids
from hookrun.runtime.rootfs import rootfs
from hookrun.runtime.spec.hooks import of_stage
from hookrun.runtime.spec.sections import linux

_PATIENCE_SECONDS = 10.0
REFUSALS = {
    "stopped": "cannot start a container that has stopped",
    "running": "cannot start an already running container",
    "paused": "cannot start a container in the paused state",
}
"""Why a container of another status than created is not started, in runc's words."""


def release(container: Container) -> int:
    """Wake the waiting process; returns the exec fifo, for `finish`. Raises Failure in runc's words."""
    path = f"{container.directory}/{EXEC_FIFO}"
    try:
        # The waiting process has both ends open: no reader means no process.
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(fifo, b"0")
        os.unlink(path)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Failure("container process is already dead") from None
        if isinstance(error, FileNotFoundError):
            raise Failure(REFUSALS["running"]) from None
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
    poll = select.poll()
    poll.register(fifo, 0)
    # The last reader goes with execve, or with the process.
    poll.poll()
    hooks.run_stage(container.config, "poststart", container.oci_state("running"), context.hook_results.append)


def end(container: Container, context: Context) -> None:
    """Kill every process of the container and wait until the first has gone. Raises Failure where it does not go."""

    def thaw() -> None:
        if container.is_frozen():
            container.cgroups().thaw()

    kill(container.init_pid, container.init_start_time, thaw)


def kill(pid: int, start_time: int, and_then: Callable[[], None]) -> None:
    """Kill the process that started at this time, if it is still that one, and wait for its end.

    `and_then` is what it takes for the signal to arrive, or to be enough. Raises Failure where it does not go.
    """
    pidfd = pids.open_if_alive(pid, start_time)
    if pidfd is None:
        return
    try:
        pids.send_signal(pidfd, signal.SIGKILL)
        and_then()
        if not pids.wait_for_end(pidfd, _PATIENCE_SECONDS):
            raise Failure("container init still running")
    finally:
        os.close(pidfd)


def destroy(context: Context, container: Container) -> None:
    """Take away the cgroups and the state of a stopped container, then run its poststop hooks."""
    manager = container.cgroups()
    if not container.has_own_pid_namespace() and manager.exists():
        # Without a pid namespace the first process's end does not end the others.
        kill_all(manager, context)
    context.harm = manager.harm() if manager.exists() else _logged_harm(container, manager)
    manager.destroy()
    if not container.has_mount_namespace():
        rootfs.release(container.state["config"]["rootfs"])
    if container.state.get("intel_rdt_path"):
        rdt.destroy(container.state)
    poststop = container.config if container.config_has_hooks("poststop") else None
    directory.remove(container.directory)
    if poststop is not None:
        _run_poststop(context, container, poststop)


def _logged_harm(container: Container, manager: Manager) -> dict[str, int]:
    """As `Manager.harm`, of cgroups that are gone: systemd removes a scope with its last process."""
    path = manager.memory_path
    kills = kernel_log.oom_kills(path, container.init_start_time) if path else 0
    if not kills:
        return {}
    return {"oom_kills": kills, "memory_limit": _memory_limit(container)}


def _memory_limit(container: Container) -> int:
    """The limit that the container was made with, in bytes; 0 for none, and if its config is damaged."""
    try:
        memory = (linux(container.config).get("resources") or {}).get("memory") or {}
    except Failure:
        return 0
    return max(0, memory.get("limit") or 0)


def kill_all(manager: Manager, context: Context) -> None:
    """Kill all in the cgroups; systemd may remove a scope meanwhile, once its last process is gone. Raises Failure."""
    try:
        manager.signal_all(signal.SIGKILL, context.log)
    except FileError as error:
        if not error.missing or manager.exists():
            raise


def _run_poststop(context: Context, container: Container, config: Mapping[str, Any]) -> None:
    """Every poststop hook runs; one that fails is only logged (runtime.md, lifecycle step 13)."""
    state = jsonio.dumps(container.oci_state("stopped", with_pid=False)).encode()
    for index, hook in enumerate(of_stage(config, "poststop")):

        def note(result: dict[str, Any], at: int = index) -> None:
            context.hook_results.append({"stage": "poststop", "index": at, **result})

        problem = hooks.run_one(hook, state, note)
        if problem:
            context.log.warning(f"error running poststop hook #{index}: {problem}")
