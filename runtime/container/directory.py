"""ROOT/ID as it is made, changed and removed; see `container` for what is in it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.container.container import CONFIG, EXEC_FIFO, STATE, Container, check_id
from hookrun.runtime.documents import SavedState
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import files

_CREATING = "creating.json"


class Draft:
    """A container that `create` is working on."""

    __slots__ = ("directory", "id")

    def __init__(self, root: str, container_id: str) -> None:
        """Take the id; exactly one of several takers gets it. Raises Failure."""
        check_id(container_id)
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        with failing(f"mkdir {root}"):
            files.make_directories(root, 0o700)
        try:
            os.mkdir(self.directory, 0o711)
        except FileExistsError:
            raise Failure("container with given ID already exists") from None
        except OSError as error:
            raise Failure(f"mkdir {self.directory}: {reason(error)}") from None

    def note_progress(self, made: Mapping[str, Any]) -> None:
        """Keep what has been made so far for whoever has to clean up. Raises Failure."""
        _write(f"{self.directory}/{_CREATING}", made)

    def make_exec_fifo(self) -> int:
        """Make the fifo at which the container's process waits; returns a descriptor of both its ends."""
        path = f"{self.directory}/{EXEC_FIFO}"
        with failing(f"exec fifo {path}"):
            os.mkfifo(path, 0o600)
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def keep_config(self, config: Mapping[str, Any]) -> None:
        """Keep the OCI config for `exec`. Raises Failure."""
        _write(f"{self.directory}/{CONFIG}", config)

    def finish(self, state: SavedState) -> Container:
        """Make it a container. Raises Failure."""
        container = Container(self.directory, self.id, state)
        save(container)
        return container

    def discard(self) -> None:
        """Give the id back. Raises Failure."""
        remove(self.directory)


def save(container: Container) -> None:
    """Write a container's state back; a crash leaves the old or the new file. Raises Failure."""
    _write(f"{container.directory}/{STATE}", container.state)


def load_progress(root: str, container_id: str) -> dict[str, Any] | None:
    """What the `create` of this id noted; {} where it is not known, None where there is no such id."""
    check_id(container_id)
    directory = f"{root}/{container_id}"
    try:
        found = jsonio.loads(files.read_bytes(f"{directory}/{_CREATING}"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    return {} if os.path.isdir(directory) else None


def was_finished(directory: str) -> bool:
    """Whether it was a container once, whatever became of its state: that was written, or `start` was called."""
    has_started = os.path.lexists(f"{directory}/{CONFIG}") and not os.path.lexists(f"{directory}/{EXEC_FIFO}")
    return has_started or os.path.lexists(f"{directory}/{STATE}")


def process_in_damaged_state(directory: str) -> tuple[int, int] | None:
    """Pid and start time of the first process, as far as a damaged state still has both."""
    try:
        state = jsonio.loads(files.read_bytes(f"{directory}/{STATE}"))
        found = state["init_process_pid"], state["init_process_start"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if all(type(number) is int for number in found) and found[0] > 0 else None


def list_ids(root: str) -> list[str]:
    """The ids under a root, sorted. Raises Failure."""
    with failing(f"open {root}"), os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def remove(directory: str) -> None:
    """Remove a container's directory with the files in it. Raises Failure."""
    try:
        with os.scandir(directory) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        # The state goes last: while it is there, `delete` can be tried again.
        for name, is_directory in sorted(names, key=lambda item: item[0] == STATE):
            path = f"{directory}/{name}"
            if is_directory:
                remove(path)
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
    with failing(f"write {path}"):
        files.replace(path, jsonio.dumps(value).encode())
