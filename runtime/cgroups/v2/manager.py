"""cgroup v2 (runc: cgroups/fs2)."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.devices import program as device_program
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.cgroups.manager import Manager, below
from hookrun.runtime.cgroups.v2 import controllers as v2_controllers
from hookrun.runtime.cgroups.v2 import stats as v2_stats
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure

# Longer than any freezing takes; runc waits as long.
_FREEZE_SECONDS = 10


def path_for(cgroups_path: str, container_id: str) -> str:
    """Directory of a container's cgroup.

    An absolute `cgroups_path` counts from the root, a relative one, or the id where it is empty, from the parent of
    the caller's cgroup: the caller's own has processes in it and so can't hand controllers down.
    """
    inner = os.path.normpath("/" + (cgroups_path or container_id).lstrip("/"))
    if cgroups_path.startswith("/"):
        return files.UNIFIED + inner.rstrip("/")
    own = files.own_cgroups().get("")
    if own is None:
        raise Failure("cgroup path not found")
    return files.UNIFIED + os.path.dirname(own).rstrip("/") + inner


class V2Manager(Manager):
    """The one cgroup of a container in the unified hierarchy."""

    __slots__ = ()

    @property
    def main_path(self) -> str:
        return self.paths[""]

    def create(self, resources: Resources) -> None:
        try:
            create(self.main_path, resources)
        except files.FileError as error:
            if not self.rootless or self.explicit:
                raise
            if v2_controllers.needed(resources) & _available(files.UNIFIED):
                raise Failure(
                    "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: " + error.text
                ) from None

    def apply(self, resources: Resources) -> None:
        path = self.main_path
        v2_controllers.apply(path, resources)
        if self.rules is not None:
            self._apply_devices(path)
        v2_controllers.apply_unified(path, resources.get("unified") or {})

    def _apply_devices(self, path: str) -> None:
        assert self.rules is not None
        try:
            device_program.attach(path, self.rules)
        except Failure:
            if not self.rootless:
                raise

    def entrance(self, sub_cgroups: dict[str, str] | None = None, init_pid: int = 0) -> Entrance:
        entrance = Entrance()
        sub = (sub_cgroups or {}).get("", "")
        try:
            self._open(entrance, sub, init_pid)
        except files.FileError:
            if not self.rootless:
                raise
        return entrance

    def _open(self, entrance: Entrance, sub: str, init_pid: int) -> None:
        """Without a sub-cgroup asked for, the container's init may have moved on and its cgroup take no processes."""
        path = below(self.main_path, sub)
        if init_pid and not sub and not _takes_processes(path):
            path = files.UNIFIED + files.own_cgroups(str(init_pid)).get("", "")
        if not self.rootless or _may_enter(path):
            entrance.add_v2(path)

    def kill(self) -> bool:
        try:
            files.write(self.main_path, "cgroup.kill", "1")
        except files.FileError as error:
            if error.missing:
                return False
            raise
        return True

    def freeze(self) -> None:
        self._set_frozen("1")
        if not _wait_until_frozen(self.main_path):
            raise Failure(f"timeout of {_FREEZE_SECONDS}s reached waiting for the cgroup to freeze")

    def thaw(self) -> None:
        self._set_frozen("0")

    def _set_frozen(self, value: str) -> None:
        try:
            files.write(self.main_path, "cgroup.freeze", value)
        except files.FileError as error:
            if value == "0" and error.missing:  # systemd takes a scope away as soon as its last process has ended
                return
            raise Failure(f"freezer not supported: {error.text}") from None

    def is_frozen(self) -> bool:
        try:
            asked_for = files.read(self.main_path, "cgroup.freeze") == "1"
        except files.FileError as error:
            if error.missing:
                return False
            raise
        return asked_for and _wait_until_frozen(self.main_path)

    @property
    def memory_path(self) -> str:
        return self.main_path.removeprefix(files.UNIFIED)

    def oom_kill_count(self) -> int:
        return files.count(self.main_path, "memory.events", "oom_kill")

    def fork_failure_count(self) -> int:
        return files.count(self.main_path, "pids.events", "max")

    def limit(self, controller: str) -> int:
        return files.limit(self.main_path, f"{controller}.max")

    def stats(self) -> dict[str, Any]:
        return v2_stats.collect(self.main_path)


def create(path: str, resources: Resources) -> None:
    """Make a cgroup and its parents, each handing every controller of the host down to the next."""
    if not path.startswith(files.UNIFIED + "/"):
        raise Failure(f"invalid cgroup path {path}")
    controllers = sorted(_available(files.UNIFIED))
    needs_domain = bool(v2_controllers.needed(resources) - {"pids", "cpuset"})
    current = files.UNIFIED
    made: list[str] = []
    try:
        for name in path[len(files.UNIFIED) + 1 :].split("/"):
            _hand_down(current, controllers)
            current = f"{current}/{name}"
            made += files.make_directories(current)
            _check_type(current, needs_domain=needs_domain)
    except Failure:
        for directory in reversed(made):
            _remove_quietly(directory)
        raise


def _remove_quietly(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass


def _available(directory: str) -> set[str]:
    return set(files.read(directory, "cgroup.controllers").split())


def _hand_down(directory: str, controllers: list[str]) -> None:
    """Enable controllers for the cgroups below; what is unavailable shows when a limit of it is set."""
    try:
        present = set(files.read(directory, "cgroup.subtree_control").split())
        wanted = [f"+{name}" for name in controllers if name not in present]
        if wanted:
            files.write(directory, "cgroup.subtree_control", " ".join(wanted))
    except files.FileError:
        for name in controllers:
            try:
                files.write(directory, "cgroup.subtree_control", f"+{name}")
            except files.FileError:
                continue


def _check_type(directory: str, *, needs_domain: bool) -> None:
    """A cgroup below one that has processes, or in a threaded subtree, has thread-aware controllers alone."""
    kind = files.read(directory, "cgroup.type")
    if kind == "domain":
        return
    if needs_domain:
        state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
        raise Failure(f'cannot enter cgroupv2 "{directory}" with domain controllers -- it is in {state}')
    if kind == "domain invalid":
        try:
            files.write(directory, "cgroup.type", "threaded")
        except files.FileError:
            pass


def _may_enter(directory: str) -> bool:
    """Whether this user may bring a process here from where it is: clone3(2) is refused as a whole where not.

    Source: admin-guide/cgroup-v2.rst, "Delegation Containment".
    """
    common = files.UNIFIED + files.own_cgroups().get("", "")
    while not f"{directory}/".startswith(f"{common}/"):
        common = os.path.dirname(common)
    return all(os.access(f"{place}/cgroup.procs", os.W_OK) for place in (directory, common))


def _takes_processes(directory: str) -> bool:
    """Whether a process may be in the cgroup itself: it hands no controller down, or is threaded."""
    try:
        if not files.read(directory, "cgroup.subtree_control"):
            return True
        return files.read(directory, "cgroup.type") != "domain"
    except files.FileError as error:
        if error.missing:
            return False
        raise


def _wait_until_frozen(directory: str) -> bool:
    """Wait for `frozen 1` in cgroup.events, whose changes wake a poller; False when it does not come."""
    deadline = time.monotonic() + _FREEZE_SECONDS
    try:
        descriptor = files.open_file(directory, "cgroup.events", os.O_RDONLY)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLPRI)
            while b"frozen 1" not in os.pread(descriptor, 4096, 0):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poller.poll(left * 1000)
            return True
        finally:
            os.close(descriptor)
    except files.FileError as error:
        if error.missing:
            return False
        raise
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        files.fail(f"read {directory}/cgroup.events", error)
