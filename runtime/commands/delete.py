"""`delete`: take away what a stopped container holds; with --force, end it first (runtime.md "Delete")."""

from __future__ import annotations

import _signal

from hookrun.runtime import container as containers
from hookrun.runtime import container_directory
from hookrun.runtime.container import Container
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os, pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from hookrun.runtime.cgroups.manager import Manager
    from hookrun.runtime.context import Context

_PATIENCE_SECONDS = 10.0


def run(context: Context, options: dict[str, Any], arguments: list[str]) -> int:
    """Delete the container `arguments[0]`. Raises Failure in runc's words."""
    force: bool = options["force"]
    try:
        container = containers.load(context.root, arguments[0])
    except Failure:
        is_clean = clean_up(context, arguments[0], force)
        if force and is_clean:
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

    def thaw() -> None:
        if container.is_frozen():
            container.cgroups().thaw()

    _kill(container.init_pid, container.init_start_time, thaw)


def _kill(pid: int, start_time: int, and_then: Callable[[], None]) -> None:
    """Kill the process that started at this time, if it is still that one, and wait for its end.

    `and_then` is what it takes for the signal to arrive, or to be enough. Raises Failure where it does not go.
    """
    pidfd = pids.open_if_alive(pid, start_time)
    if pidfd is None:
        return
    try:
        pids.send_signal(pidfd, _signal.SIGKILL)
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
    context.harm = manager.harm()
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


def clean_up(context: Context, container_id: str, force: bool) -> bool:
    """Clean up where there is no usable state; whether nothing is left of the id.

    Without force, that is only done after a `create` that never finished and left no process: what may run is left
    alone. Raises Failure where nothing tells any more which processes are the container's.
    """
    made = container_directory.load_progress(context.root, container_id)
    if made is None:
        return True
    directory = f"{context.root}/{container_id}"
    is_finished = container_directory.was_finished(directory)
    noted = _noted(context, directory, container_id, made)
    if not force and (is_finished or _creator_lives(made) or (noted is not None and _has_processes(noted))):
        return False
    if is_finished:
        _end_damaged(context, directory, noted)
    elif noted is not None:
        _undo_create(context, noted)
    container_directory.remove(directory)
    return True


def _noted(context: Context, directory: str, container_id: str, made: dict[str, Any]) -> Container | None:
    """The container that a `create` noted, without the cgroups that another one has by now; None without good notes."""
    if not containers.is_whole(made, unfinished=True):
        return None
    noted = Container(directory, container_id, made)
    if any(_shares_cgroups(other, noted) for other in _others(context, container_id)):
        made["cgroup_paths"], made["config"]["cgroups"] = {}, {}
    return noted


def _others(context: Context, container_id: str) -> Iterator[Container]:
    for name in container_directory.list_ids(context.root):
        try:
            if name != container_id:
                yield containers.load(context.root, name)
        except Failure:
            continue


def _shares_cgroups(one: Container, other: Container) -> bool:
    shared = set(one.state["cgroup_paths"].values()) & set(other.state["cgroup_paths"].values())
    return bool(shared) and one.init_is_alive()


def _has_processes(container: Container) -> bool:
    manager = container.cgroups()
    return manager.exists() and bool(manager.pids())


def _end_damaged(context: Context, directory: str, noted: Container | None) -> None:
    """End a container by what its damaged state and the notes of its `create` still say. Raises Failure."""
    first = container_directory.process_in_damaged_state(directory)
    if first is None and not (noted and noted.state["cgroup_paths"]):
        raise Failure(f"{directory}: nothing there tells the container's processes: end them, then remove it")

    def kill_the_rest() -> None:
        if noted is not None and _has_processes(noted):
            kill_all(noted.cgroups(), context)

    if first is not None:
        _kill(*first, kill_the_rest)
    kill_the_rest()
    if noted is not None:
        if not _has_config(noted):
            noted.state["config"]["hook_stages"] = []
        destroy(context, noted)


def _has_config(container: Container) -> bool:
    try:
        return bool(container.config)
    except Failure:
        return False


def _undo_create(context: Context, container: Container) -> None:
    manager = container.cgroups()
    if _has_processes(container):
        kill_all(manager, context)
    manager.destroy()
    before = container.state.get("mounts_before")
    if isinstance(before, int):
        from hookrun.runtime import rootfs

        rootfs.release_beyond(container.state["config"]["rootfs"], before)


def _creator_lives(made: dict[str, Any]) -> bool:
    pid, started = made.get("creator_pid"), made.get("creator_start")
    return isinstance(pid, int) and isinstance(started, int) and pids.is_alive(pid, started)
