"""`delete`: take away what a stopped container holds; with --force, end it first (runtime.md "Delete")."""

from __future__ import annotations

import _signal

from hookrun.runtime import container as containers
from hookrun.runtime import container_directory
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os, pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.runtime.cgroups.manager import Manager
    from hookrun.runtime.container import Container
    from hookrun.runtime.context import Context

_PATIENCE_SECONDS = 10.0


def run(context: Context, options: dict[str, Any], arguments: list[str]) -> int:
    """Delete the container `arguments[0]`. Raises Failure in runc's words."""
    force: bool = options["force"]
    try:
        container = containers.load(context.root, arguments[0])
    except Failure:
        if clean_up_unfinished(context, arguments[0], force) and force:
            return 0
        if force and container_directory.load_progress(context.root, arguments[0]) is None:
            return 0
        raise
    status = container.status()
    if status in ("running", "paused") and not force:
        raise Failure(f"cannot delete container {container.id} that is not stopped: {status}")
    if status != "stopped":
        end(container, context)
    destroy(context, container)
    return 0


def end(container: Container, context: Context) -> None:
    """Kill every process of the container and wait until the first has gone. Raises Failure where it does not go."""
    pidfd = pids.open_if_alive(container.init_pid, container.init_start_time)
    if pidfd is None:
        return
    try:
        pids.send_signal(pidfd, _signal.SIGKILL)
        if container.is_frozen():
            container.cgroups().thaw()
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
    manager.destroy()
    if not container.has_mount_namespace():
        from hookrun.runtime import rootfs

        rootfs.release(container.state["config"]["rootfs"])
    if container.state.get("intel_rdt_path"):
        from hookrun.runtime import rdt

        rdt.destroy(container.state)
    poststop = container.config if container.config_has_hooks("poststop") else None
    container_directory.remove(container.directory)
    if poststop is not None:
        _run_poststop(context, container, poststop)


def kill_all(manager: Manager, context: Context) -> None:
    """Kill all in the cgroups; systemd may remove a scope meanwhile, once its last process is gone. Raises Failure."""
    from hookrun.runtime.cgroups.files import FileError

    try:
        manager.signal_all(_signal.SIGKILL, context.log)
    except FileError as error:
        if not error.missing or manager.exists():
            raise


def _run_poststop(context: Context, container: Container, config: dict[str, Any]) -> None:
    """Every poststop hook runs; one that fails is only logged (runtime.md, lifecycle step 13)."""
    from hookrun.runtime import hooks, jsonio

    state = jsonio.dumps(container.oci_state("stopped", with_pid=False)).encode()
    for index, hook in enumerate(hooks.of_stage(config, "poststop")):

        def note(result: dict[str, Any], at: int = index) -> None:
            context.hook_results.append({"stage": "poststop", "index": at, **result})

        problem = hooks.run_one(hook, state, note)
        if problem:
            context.log.warning(f"error running poststop hook #{index}: {problem}")


def clean_up_unfinished(context: Context, container_id: str, force: bool) -> bool:
    """Clean up after a `create` that never finished; whether there was one to clean up after.

    Without force, one that is still at work is left alone.
    """
    made = container_directory.load_progress(context.root, container_id)
    if made is None:
        return False
    if not force and _creator_lives(made):
        return False
    if isinstance(made.get("cgroup_paths"), dict) and isinstance(made.get("config"), dict):
        from hookrun.runtime.cgroups import choice

        manager = choice.from_state(made)
        if manager.exists():
            kill_all(manager, context)
        manager.destroy()
        if isinstance(made.get("mounts_before"), int):
            from hookrun.runtime import rootfs

            rootfs.release_beyond(made["config"].get("rootfs", ""), made["mounts_before"])
    container_directory.remove(f"{context.root}/{container_id}")
    return True


def _creator_lives(made: dict[str, Any]) -> bool:
    pid, started = made.get("creator_pid"), made.get("creator_start")
    return isinstance(pid, int) and isinstance(started, int) and pids.is_alive(pid, started)
