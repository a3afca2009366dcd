"""`delete`: take away what a stopped container holds; with --force, end it first (runtime.md "Delete")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hookrun.runtime.container import container as containers
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.container import life
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import pids
from hookrun.runtime.rootfs import rootfs


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Delete the container `arguments[0]`. Raises Failure in runc's words."""
    force: bool = options["force"]
    try:
        container = containers.load(context.root, arguments[0])
    except Failure:
        is_clean = clean_up(context, arguments[0], force=force)
        if force and is_clean:
            return 0
        raise
    status = container.status()
    if status in ("running", "paused") and not force:
        raise Failure(f"cannot delete container {container.id} that is not stopped: {status}")
    if status != "stopped":
        life.end(container, context)
    life.destroy(context, container)
    return 0


def clean_up(context: Context, container_id: str, *, force: bool) -> bool:
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
        raise Failure(
            f"{directory}: cannot tell which processes are the container's: end them, then remove the directory"
        )

    def kill_the_rest() -> None:
        if noted is not None and _has_processes(noted):
            life.kill_all(noted.cgroups(), context)

    if first is not None:
        life.kill(*first, kill_the_rest)
    kill_the_rest()
    if noted is not None:
        if not _has_config(noted):
            noted.state["config"]["hook_stages"] = []
        life.destroy(context, noted)


def _has_config(container: Container) -> bool:
    try:
        return bool(container.config)
    except Failure:
        return False


def _undo_create(context: Context, container: Container) -> None:
    manager = container.cgroups()
    if _has_processes(container):
        life.kill_all(manager, context)
    manager.destroy()
    before = container.state.get("mounts_before")
    if isinstance(before, int):
        rootfs.release_beyond(container.state["config"]["rootfs"], before)


def _creator_lives(made: dict[str, Any]) -> bool:
    pid, started = made.get("creator_pid"), made.get("creator_start")
    return isinstance(pid, int) and isinstance(started, int) and pids.is_alive(pid, started)
