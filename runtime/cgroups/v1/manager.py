"""cgroup v1: one hierarchy for each controller, on hybrid hosts the unified one beside them (runc: cgroups/fs)."""

from __future__ import annotations

import os
import time
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.devices import rules as devices
from hookrun.runtime.cgroups.devices.rules import Rule
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.cgroups.manager import Manager, below
from hookrun.runtime.cgroups.v1 import controllers as v1_controllers
from hookrun.runtime.cgroups.v1 import stats as v1_stats
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure

# The order in which limits are set. The controllers below _LIMITED are entered only.
_LIMITED = ("cpuset", "devices", "memory", "cpu", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma")
_CONTROLLERS = (*_LIMITED, "cpuacct", "perf_event", "freezer", "name=systemd", "misc")

# Those whose failure runc never reports.
_OPTIONAL = ("name=systemd", "misc", "")

_LIMITS = {"memory": "memory.limit_in_bytes", "pids": "pids.max"}

_FREEZE_TRIES = 1000


def check(resources: Resources) -> None:
    """Raise Failure for resources that v1 can't give."""
    if resources.get("unified"):
        raise Failure("invalid configuration: cannot use unified on cgroup v1")


def paths_for(cgroups_path: str, container_id: str) -> dict[str, str]:
    """Controller -> directory of a container's cgroup on this host.

    An absolute `cgroups_path` counts from the hierarchies' roots, a relative one, or the id where it is empty, from
    the caller's own cgroup. Raises Failure where no devices controller is mounted.
    """
    if cgroups_path.startswith("/"):
        inner = os.path.normpath("/" + cgroups_path.lstrip("/"))
        paths = {name: top + inner.rstrip("/") for name, top in _mount_points().items()}
    else:
        inner = os.path.normpath("/" + (cgroups_path or container_id))
        paths = {name: own.rstrip("/") + inner for name, own in _own_directories().items()}
    if "devices" not in paths:
        raise Failure("mountpoint for devices not found")
    if files.is_hybrid():
        # runc counts from the root here even for a relative path.
        paths[""] = files.HYBRID + inner.rstrip("/")
    return paths


def _mount_points() -> dict[str, str]:
    """Controller -> mount point; those under /sys/fs/cgroup are found without the host's whole mount table."""
    found = {}
    top = os.stat(files.UNIFIED).st_dev if os.path.isdir(files.UNIFIED) else -1
    for name in _CONTROLLERS:
        path = f"{files.UNIFIED}/{name.removeprefix('name=')}"
        try:
            if os.stat(path).st_dev != top:
                found[name] = _target(path)
        except FileNotFoundError:
            continue
    return found if "devices" in found else _mount_points_anywhere()


def _target(path: str) -> str:
    """Where a link such as cpu -> cpu,cpuacct leads, one step, within its directory."""
    try:
        return f"{os.path.dirname(path)}/{os.path.basename(os.readlink(path))}"
    except OSError:
        return path


def _mount_points_anywhere() -> dict[str, str]:
    found: dict[str, str] = {}
    for mount_point, _, options in files.v1_mounts():
        for name in options:
            if name in _CONTROLLERS:
                found.setdefault(name, mount_point)
    return found


def _own_directories() -> dict[str, str]:
    """Controller -> directory of the caller's cgroup, below the part of the hierarchy that is mounted here."""
    own = files.own_cgroups()
    found: dict[str, str] = {}
    for mount_point, root, options in files.v1_mounts():
        for name in options:
            if name in _CONTROLLERS and name in own and name not in found:
                inner = os.path.relpath(own[name], root)
                found[name] = os.path.normpath(f"{mount_point}/{inner}")
    return found


class V1Manager(Manager):
    """The cgroups of a container in the v1 hierarchies."""

    __slots__ = ()

    @property
    def main_path(self) -> str:
        return self.paths.get("devices", "")

    def create(self, resources: Resources) -> None:
        made: list[str] = []
        try:
            for name, path in list(self.paths.items()):
                try:
                    made += v1_controllers.create(name, path, resources)
                except files.FileError as error:
                    if name not in _OPTIONAL and not self.ignorable(error):
                        raise
                    del self.paths[name]
        except Failure:
            _remove_made(made)
            raise

    def apply(self, resources: Resources) -> None:
        check(resources)
        for name in _LIMITED:
            path = self.paths.get(name, "")
            try:
                if name != "devices":
                    v1_controllers.apply(name, path, resources)
                elif self.rules is not None:
                    self._apply_devices(path, self.rules)
            except Failure:
                if not path:
                    raise Failure(f"cannot set {name} limit: container could not join or create cgroup") from None
                raise

    def _apply_devices(self, path: str, rules: list[Rule]) -> None:
        try:
            devices.set_v1(path, rules)
        except files.FileError:
            if not self.rootless:
                raise

    def entrance(self, sub_cgroups: dict[str, str] | None = None, init_pid: int = 0) -> Entrance:
        entrance = Entrance()
        targets = self._targets(sub_cgroups or {})
        unified = targets.pop("", "")
        seen: set[str] = set()
        try:
            for name, path in targets.items():
                if path not in seen:
                    seen.add(path)
                    self._open(entrance, name, path)
            if unified and os.path.isdir(unified):
                entrance.add_v2(unified)
        except Failure:
            entrance.close()
            raise
        return entrance

    def _targets(self, sub_cgroups: dict[str, str]) -> dict[str, str]:
        if "" in sub_cgroups:
            sub_cgroups = dict.fromkeys(self.paths, sub_cgroups[""])
        targets = dict(self.paths)
        for name, sub in sub_cgroups.items():
            if name not in targets:
                raise Failure(f"unknown controller {name} in SubCgroupPaths")
            targets[name] = below(targets[name], sub)
        return targets

    def _open(self, entrance: Entrance, name: str, path: str) -> None:
        try:
            entrance.add_v1([path])
        except files.FileError as error:
            if name in _OPTIONAL or self.ignorable(error):
                return
            raise

    def freeze(self) -> None:
        path = self._freezer()
        try:
            self._freeze(path)
        except Failure:
            # A cgroup left half frozen would hang everything that enters it.
            files.write(path, "freezer.state", "THAWED")
            raise

    def _freeze(self, path: str) -> None:
        # A v1 freezer that meets a fork may stay in FREEZING for ever; written again, or thawed and frozen anew, it
        # gets there (the kernel's freezer-subsystem.rst; runc's fs/freezer.go has the same numbers).
        for attempt in range(_FREEZE_TRIES):
            if attempt % 50 == 49:
                files.write(path, "freezer.state", "THAWED")
                time.sleep(0.01)
            files.write(path, "freezer.state", "FROZEN")
            if attempt % 25 == 24:
                time.sleep(0.00001)
            state = files.read(path, "freezer.state")
            if state == "FROZEN":
                return
            if state != "FREEZING":
                raise Failure(f"unexpected state {state} while freezing")
        raise Failure("unable to freeze")

    def thaw(self) -> None:
        files.write(self._freezer(), "freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        path = self.paths.get("freezer")
        if not path:
            return False
        try:
            while (state := files.read(path, "freezer.state")) == "FREEZING":
                time.sleep(0.001)
            return state == "FROZEN" and files.read(path, "freezer.self_freezing") == "1"
        except files.FileError as error:
            if error.missing:
                return False
            raise

    def _freezer(self) -> str:
        path = self.paths.get("freezer", "")
        if not path:
            raise Failure("cannot toggle freezer: cgroups not configured for container")
        return path

    @property
    def memory_path(self) -> str:
        return self.paths.get("memory", "").removeprefix(f"{files.UNIFIED}/memory")

    def oom_kill_count(self) -> int:
        return files.count(self.paths.get("memory", ""), "memory.oom_control", "oom_kill")

    def fork_failure_count(self) -> int:
        return files.count(self.paths.get("pids", ""), "pids.events", "max")

    def limit(self, controller: str) -> int:
        return files.limit(self.paths.get(controller, ""), _LIMITS[controller])

    def stats(self) -> dict[str, Any]:
        return v1_stats.collect(self.paths)


def _remove_made(paths: list[str]) -> None:
    for path in reversed(paths):
        try:
            os.rmdir(path)
        except OSError:
            continue
