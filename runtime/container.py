"""A container on disk: ROOT/ID with its state, its config and, until it starts, its exec fifo.

    state.json      runc's keys, which cAdvisor and others read; written last, so that it stands for a whole container
    creating.json   what `create` was going to make, so that `delete --force` can clean up after one that was killed,
                    or whose state.json was damaged
    config.json     the OCI config that the container was made from, for `exec`
    exec.fifo       there from `create` to `start`
"""

from __future__ import annotations

import time

from hookrun.runtime import SPEC_VERSION, jsonio
from hookrun.runtime.cgroups import freezer
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os, pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.runtime.cgroups.manager import Manager

EXEC_FIFO = "exec.fifo"
_STATE = "state.json"
_CREATING = "creating.json"
_CONFIG = "config.json"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+,-.")


def check_id(container_id: str) -> None:
    """Refuse what runc refuses as an id: anything that is not one plain file name. Raises Failure."""
    if not container_id:
        raise Failure("container id cannot be empty")
    if container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise Failure("invalid container ID format")


class Container:
    """A container that `create` has finished."""

    __slots__ = ("_config", "directory", "id", "state")

    def __init__(self, directory: str, container_id: str, state: dict[str, Any]) -> None:
        self.directory = directory
        self.id = container_id
        self.state = state
        self._config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The OCI config that the container was made from. Raises Failure."""
        if self._config is None:
            path = f"{self.directory}/{_CONFIG}"
            found = jsonio.read(path)
            if not isinstance(found, dict):
                raise Failure(f"{path}: damaged; delete the container with --force")
            self._config = found
        return self._config

    @property
    def init_pid(self) -> int:
        pid: int = self.state["init_process_pid"]
        return pid

    @property
    def init_start_time(self) -> int:
        started: int = self.state["init_process_start"]
        return started

    @property
    def bundle(self) -> str:
        """The bundle's directory, which runc keeps among the labels."""
        return next((label[7:] for label in self.state["config"]["labels"] if label.startswith("bundle=")), "")

    @property
    def annotations(self) -> dict[str, str]:
        """The config's annotations, which runc keeps among the labels too."""
        pairs = (label.partition("=") for label in self.state["config"]["labels"])
        return {name: value for name, _, value in pairs if name != "bundle"}

    def cgroups(self) -> Manager:
        """The container's cgroups."""
        from hookrun.runtime import cgroups

        return cgroups.from_state(self.state)

    def is_waiting(self) -> bool:
        """Whether `start` has not been called yet."""
        return os.path.lexists(f"{self.directory}/{EXEC_FIFO}")

    def init_is_alive(self) -> bool:
        return pids.is_alive(self.init_pid, self.init_start_time)

    def status(self) -> str:
        """created, running, paused or stopped (runtime.md "State"; runc: container_linux.go refreshState)."""
        if not self.init_is_alive():
            return "stopped"
        if self.is_frozen():
            return "paused"
        return "created" if self.is_waiting() else "running"

    def is_frozen(self) -> bool:
        return freezer.may_be_frozen(self.state["cgroup_paths"]) and self.cgroups().is_frozen()

    def config_has_hooks(self, stage: str) -> bool:
        """Whether there are hooks for a stage; known from the state, so that the config need not be read."""
        return stage in self.state["config"]["hook_stages"]

    def has_own_pid_namespace(self) -> bool:
        """Whether the end of the first process ends all others."""
        return any(entry == {"type": "NEWPID", "path": ""} for entry in self.state["config"]["namespaces"])

    def has_mount_namespace(self) -> bool:
        """Whether its mounts are its own, and end with it."""
        return any(entry["type"] == "NEWNS" for entry in self.state["config"]["namespaces"])

    def oci_state(self, status: str, with_pid: bool = True) -> dict[str, Any]:
        """The state as hooks get it (runtime.md "State")."""
        pid = self.init_pid if with_pid else 0
        return oci_state(self.id, status, pid, self.bundle, self.annotations)

    def save(self) -> None:
        """Write the state back; a crash leaves the old or the new file. Raises Failure."""
        _write(f"{self.directory}/{_STATE}", self.state)

    def remove_directory(self) -> None:
        """Forget the container. Raises Failure."""
        remove_directory(self.directory)


def oci_state(container_id: str, status: str, pid: int, bundle: str, annotations: dict[str, str]) -> dict[str, Any]:
    """A state object of the spec; pid is left out where the container has no process."""
    state: dict[str, Any] = {"ociVersion": SPEC_VERSION, "id": container_id, "status": status}
    if pid:
        state["pid"] = pid
    state["bundle"] = bundle
    if annotations:
        state["annotations"] = annotations
    return state


def load(root: str, container_id: str) -> Container:
    """The container of this id. Raises Failure where there is none or its state is damaged."""
    check_id(container_id)
    directory = f"{root}/{container_id}"
    path = f"{directory}/{_STATE}"
    try:
        data = jsonio.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Failure("container does not exist") from None
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    return Container(directory, container_id, _checked_state(path, data))


def _checked_state(path: str, data: bytes) -> dict[str, Any]:
    damaged = Failure(f"{path}: damaged state file; `delete --force` cleans the container up")
    try:
        state = jsonio.loads(data)
        whole = (
            isinstance(state["init_process_pid"], int)
            and state["init_process_pid"] > 0
            and isinstance(state["init_process_start"], int)
            and isinstance(state["cgroup_paths"], dict)
            and isinstance(state["created"], str)
            and isinstance(state["config"]["rootfs"], str)
            and isinstance(state["config"]["oci_version"], str)
            and isinstance(state["config"]["labels"], list)
            and isinstance(state["config"]["hook_stages"], list)
            and isinstance(state["config"]["namespaces"], list)
        )
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if not whole:
        raise damaged
    found: dict[str, Any] = state
    return found


class Draft:
    """A container that `create` is working on."""

    __slots__ = ("directory", "id")

    def __init__(self, root: str, container_id: str) -> None:
        """Take the id; exactly one of several takers gets it. Raises Failure."""
        check_id(container_id)
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        try:
            os.makedirs(root, mode=0o700, exist_ok=True)
        except OSError as error:
            raise Failure(f"mkdir {root}: {reason(error)}") from None
        try:
            os.mkdir(self.directory, 0o711)
        except FileExistsError:
            raise Failure("container with given ID already exists") from None
        except OSError as error:
            raise Failure(f"mkdir {self.directory}: {reason(error)}") from None

    def note_progress(self, made: dict[str, Any]) -> None:
        """Keep what has been made so far for whoever has to clean up. Raises Failure."""
        _write(f"{self.directory}/{_CREATING}", made)

    def make_exec_fifo(self) -> int:
        """Make the fifo at which the container's process waits; returns a descriptor of both its ends."""
        path = f"{self.directory}/{EXEC_FIFO}"
        try:
            os.mkfifo(path, 0o600)
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Failure(f"exec fifo {path}: {reason(error)}") from None

    def keep_config(self, config: dict[str, Any]) -> None:
        """Keep the OCI config for `exec`. Raises Failure."""
        _write(f"{self.directory}/{_CONFIG}", config)

    def finish(self, state: dict[str, Any]) -> Container:
        """Make it a container. Raises Failure."""
        container = Container(self.directory, self.id, state)
        container.save()
        return container

    def discard(self) -> None:
        """Give the id back. Raises Failure."""
        remove_directory(self.directory)


def load_progress(root: str, container_id: str) -> dict[str, Any] | None:
    """What the `create` of this id noted; {} where it is not known, None where there is no such id."""
    check_id(container_id)
    directory = f"{root}/{container_id}"
    try:
        found = jsonio.loads(jsonio.read_bytes(f"{directory}/{_CREATING}"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    return {} if os.path.isdir(directory) else None


def list_ids(root: str) -> list[str]:
    """The ids under a root, sorted; [] where there is no such root."""
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failure(f"open {root}: {reason(error)}") from None


def remove_directory(directory: str) -> None:
    """Remove a container's directory with the files in it. Raises Failure."""
    try:
        with os.scandir(directory) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        # The state goes last: while it is there, `delete` can be tried again.
        for name, is_directory in sorted(names, key=lambda item: item[0] == _STATE):
            path = f"{directory}/{name}"
            if is_directory:
                remove_directory(path)
            else:
                os.unlink(path)
        os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failure(f"remove {directory}: {reason(error)}") from None


def now() -> str:
    """The time as Go prints it in state.json: RFC 3339 with nanoseconds."""
    nanoseconds = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    fraction = f"{nanoseconds % 1_000_000_000:09d}".rstrip("0")
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


def _write(path: str, value: Any) -> None:
    data = jsonio.dumps(value).encode()
    temporary = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise Failure(f"write {path}: {reason(error)}") from None
