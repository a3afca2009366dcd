"""A container on disk: ROOT/ID with its state, its config and, until it starts, its exec fifo.

    state.json      runc's keys, which cAdvisor and others read; written last, so that it stands for a whole container
    creating.json   what `create` was going to make, so that `delete --force` can clean up after one that was killed,
                    or whose state.json was damaged
    config.json     the OCI config that the container was made from, for `exec`
    exec.fifo       there from `create` to `start`

Here it is read, by every command; `directory` makes, changes and removes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeGuard

from hookrun.runtime import SPEC_VERSION, jsonio
from hookrun.runtime.cgroups import choice, freezer
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.documents import SavedState
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import files, pids
from hookrun.runtime.spec import go_decoder

EXEC_FIFO = "exec.fifo"
STATE = "state.json"
CONFIG = "config.json"
_HIGHEST_PID = 1 << 22  # PID_MAX_LIMIT (include/linux/threads.h)
_LATEST_START = (1 << 63) - 1
_FORM = {
    "id": str,
    "init_process_pid": int,
    "init_process_start": int,
    "created": str,
    "cgroup_paths": {"*": str},
    "intel_rdt_path": str,
    "intel_rdt_created": bool,
    "config": {
        "rootfs": str,
        "oci_version": str,
        "labels": [str],
        "hook_stages": [str],
        "namespaces": [{"type": str, "path": str}],
        "cgroups": {"name": str, "parent": str, "path": str, "scope_prefix": str, "Systemd": bool, "Rootless": bool},
    },
}
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+,-.")


def check_id(container_id: str) -> None:
    """Refuse what runc refuses as an id: anything that is not one plain file name. Raises Failure."""
    if not container_id:
        raise Failure("container id cannot be empty")
    if container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise Failure("invalid container ID format")


@dataclass(slots=True)
class Container:
    """A container that `create` has finished."""

    directory: str
    id: str
    state: SavedState
    _config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The OCI config that the container was made from. Raises Failure."""
        if self._config is None:
            path = f"{self.directory}/{CONFIG}"
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
        return choice.from_state(self.state)

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

    def oci_state(self, status: str, *, with_pid: bool = True) -> dict[str, Any]:
        """The state as hooks get it (runtime.md "State")."""
        pid = self.init_pid if with_pid else 0
        return oci_state(self.id, status, pid, self.bundle, self.annotations)


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
    path = f"{directory}/{STATE}"
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Failure("container does not exist") from None
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    return Container(directory, container_id, _checked_state(path, data))


def _checked_state(path: str, data: bytes) -> SavedState:
    try:
        state = jsonio.loads(data)
    except ValueError:
        state = None
    if not is_whole(state) and not is_whole(_respelled(state)):
        raise Failure(f"{path}: damaged state file; `delete --force` cleans the container up")
    found: SavedState = state
    return found


def is_whole(state: Any, *, unfinished: bool = False) -> TypeGuard[SavedState]:
    """Whether a value is a container's state; one that is `unfinished` has no process yet."""
    try:
        config = state["config"]
        return (
            _is_number(state["init_process_pid"], 0 if unfinished else 1, _HIGHEST_PID)
            and _is_number(state["init_process_start"], 0, _LATEST_START)
            and _is_map(state["cgroup_paths"])
            and isinstance(state["created"], str)
            and isinstance(config["rootfs"], str)
            and isinstance(config["oci_version"], str)
            and _are_strings(config["labels"])
            and _are_strings(config["hook_stages"])
            and isinstance(config["namespaces"], list)
            and all(_is_map(entry) and {"type", "path"} <= entry.keys() for entry in config["namespaces"])
            and isinstance(config["cgroups"], dict)
            and isinstance(state.get("intel_rdt_path", ""), str)
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(element, str) for element in value.values())


def _respelled(state: Any) -> Any:
    """The same with keys in another case folded, as in configs (`go_decoder`)."""
    go_decoder.normalize(state, _FORM)
    return state
