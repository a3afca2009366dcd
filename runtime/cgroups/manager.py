"""What the cgroups of a container can do on every kind of hierarchy; v1, v2 and systemd fill in the rest."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.devices.rules import Rule
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.log import Log

# How long a cgroup may stay busy after its last process was killed (runc: 10 tries, 1 ms doubling each time).
_REMOVAL_TRIES = 11


@dataclass(slots=True)
class Manager:
    """The cgroups of one container."""

    paths: dict[str, str]
    """Controller -> absolute directory, as in state.json's `cgroup_paths`; the unified hierarchy's key is ""."""
    _: KW_ONLY
    rootless: bool
    """Whether cgroups that this user may not make or enter are done without (`--rootless`)."""
    explicit: bool
    """Whether the config names the cgroup; then its rights are not optional even when rootless."""
    rules: list[Rule] | None
    """The device rules; None for a container that has got them already (`update` can't change them)."""

    @property
    def main_path(self) -> str:
        """The directory whose processes are the container's, "" without one."""
        raise NotImplementedError

    def create(self, resources: Resources) -> None:
        """Make the cgroups, ready for a process to enter."""
        raise NotImplementedError

    def apply(self, resources: Resources) -> None:
        """Set the limits of `linux.resources`, and the device rules of a new container."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """The `data` object of runc's `events --stats`."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process; returns when they have stopped."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let every process go on."""
        raise NotImplementedError

    def is_frozen(self) -> bool:
        """Whether this container itself, not a cgroup above it, is frozen."""
        raise NotImplementedError

    def oom_kill_count(self) -> int:
        """How many processes the kernel has killed for want of memory; 0 where that is not known."""
        raise NotImplementedError

    def fork_failure_count(self) -> int:
        """How many forks failed for the limit on processes; 0 where that is not known."""
        raise NotImplementedError

    def limit(self, controller: str) -> int:
        """The limit of `memory` in bytes, or of `pids`; 0 where there is none."""
        raise NotImplementedError

    @property
    def memory_path(self) -> str:
        """The path of the container's cgroup in the hierarchy of the memory controller, "" without one."""
        raise NotImplementedError

    def harm(self) -> dict[str, int]:
        """What the kernel did to the processes for want of memory and pids, and the limits then; empty for nothing."""
        found: dict[str, int] = {}
        if kills := self.oom_kill_count():
            found |= {"oom_kills": kills, "memory_limit": self.limit("memory")}
        if refused := self.fork_failure_count():
            found |= {"forks_refused": refused, "pids_limit": self.limit("pids")}
        return found

    def entrance(self, sub_cgroups: dict[str, str] | None = None, init_pid: int = 0) -> Entrance:
        """The way in for a new process.

        `sub_cgroups`: controller -> path below the container's cgroup, "" for all (`exec --cgroup`). `init_pid`: on
        v2, whose cgroup to enter when the container's own takes no processes.
        """
        raise NotImplementedError

    def check_unused(self) -> None:
        """Raise Failure where the cgroup of a new container has processes or is frozen."""
        try:
            count = len(self.pids()) if self.main_path else 0
        except files.FileError as error:
            if not error.missing:
                raise Failure(f"unable to get cgroup PIDs: {error.text}") from None
            count = 0
        if count:
            raise Failure(f"container's cgroup is not empty: {count} process(es) found")
        if self.is_frozen():
            raise Failure("container's cgroup unexpectedly frozen")

    def exists(self) -> bool:
        """Whether the container's cgroup is still there."""
        return bool(self.main_path) and os.path.isdir(self.main_path)

    def pids(self) -> list[int]:
        """The processes of the container, those of sub-cgroups after their parent's."""
        return _pids(self.main_path, recursive=True)

    def kill(self) -> bool:
        """Kill every process at once, through cgroup.kill; False if the kernel has none."""
        return False

    def signal_all(self, number: int, log: Log) -> None:
        """Send a signal to every process; they are frozen meanwhile, so that none is born unseen."""
        if number == signal.SIGKILL and self.kill():
            return
        _warn_of_failure(self.freeze, log)
        try:
            for pid in self.pids():
                _signal_one(pid, number, log)
        finally:
            _warn_of_failure(self.thaw, log)

    def destroy(self) -> None:
        """Remove the cgroups and all below them; raises Failure naming those that stay."""
        left = {}
        for controller, path in self.paths.items():
            try:
                remove(path)
            except OSError:
                left[controller] = path
        if left:
            shown = " ".join(f"{controller}:{path}" for controller, path in sorted(left.items()))
            raise Failure(f"unable to remove container's cgroup: Failed to remove paths: map[{shown}]")

    def ignorable(self, error: files.FileError) -> bool:
        """Whether a rootless container goes on without the cgroup that raised `error`."""
        return self.rootless and not self.explicit and error.errno in files.DENIED


def below(base: str, sub: str) -> str:
    """The cgroup `sub` of `base`. Raises Failure where it would lie outside."""
    path = os.path.normpath(f"{base}/{sub}")
    if path != base and not path.startswith(base + "/"):
        raise Failure(f"bad sub cgroup path: {sub}")
    return path


def _signal_one(pid: int, number: int, log: Log) -> None:
    if not pid:  # what the kernel lists for a process that this pid namespace does not see; kill(2) means ourselves
        return
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except OSError as error:
        log.warning(f"kill {pid}: {reason(error)}")


def _warn_of_failure(change: Callable[[], None], log: Log) -> None:
    try:
        change()
    except Failure as error:
        log.warning(error.text)


def _pids(directory: str, *, recursive: bool) -> list[int]:
    try:
        found = [int(line) for line in files.read(directory, "cgroup.procs").split()]
    except files.FileError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        # A threaded v2 cgroup lists threads alone.
        found = [int(line) for line in files.read(directory, "cgroup.threads").split()]
    if recursive:
        for name in _children(directory):
            try:
                found += _pids(f"{directory}/{name}", recursive=True)
            except files.FileError as error:
                if not error.missing:
                    raise
    return found


def _children(directory: str) -> list[str]:
    # A cgroup's link count is 2 and one for each cgroup below it, so most need no listing of their many files.
    try:
        if os.stat(directory).st_nlink == 2:
            return []
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def remove(path: str) -> None:
    """Remove a cgroup and all below it, waiting up to two seconds for its last processes to be gone; OSError if not."""
    if _remove_empty(path):
        return
    for name in _children(path):
        remove(f"{path}/{name}")
    for attempt in range(_REMOVAL_TRIES):
        if _remove_empty(path):
            return
        _wait_for_exits(path, (1 << attempt) / 1000)
    os.rmdir(path)


def _remove_empty(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EROFS and not os.path.exists(path):
            return True
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def _wait_for_exits(path: str, seconds: float) -> None:
    """Wait until one process of a dying cgroup has exited, for `seconds` at most."""
    try:
        pids = _pids(path, recursive=False)
    except Failure:
        pids = []
    descriptors = []
    for pid in pids:
        try:
            descriptors.append(os.pidfd_open(pid))
        except OSError:
            continue
    if not descriptors:
        # Nobody is listed: the kernel still takes the last process apart, and tells no one when it is done.
        time.sleep(seconds)
        return
    try:
        select.select(descriptors, [], [], seconds)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
