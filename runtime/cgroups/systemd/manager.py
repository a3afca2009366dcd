"""Cgroups that systemd makes: a transient scope for each container.

Sources: runc cgroups/systemd; systemd's CGROUP_DELEGATION.md, org.freedesktop.systemd1(5).

systemd makes a scope around a process that exists already, so the container's init asks its parent for `Entrance.admit`
before it goes on. The scope is delegated: below it, and for what systemd has no property for,
the cgroup files are written as without systemd.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.devices.rules import Rule
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.cgroups.systemd import properties as systemd_properties
from hookrun.runtime.cgroups.systemd.dbus import SYSTEM_BUS, BusError, Connection, Variant, user_bus
from hookrun.runtime.cgroups.systemd.properties import Properties
from hookrun.runtime.cgroups.v1 import manager as v1
from hookrun.runtime.cgroups.v1.manager import V1Manager
from hookrun.runtime.cgroups.v2 import controllers as v2_controllers
from hookrun.runtime.cgroups.v2 import manager as v2
from hookrun.runtime.cgroups.v2.manager import V2Manager
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_PATIENCE_SECONDS = 30.0
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a `slice:prefix:name` path stands for."""

    slice: str
    prefix: str
    name: str

    @property
    def is_slice(self) -> bool:
        """Whether the name asks for a slice, which groups units and has no processes."""
        return self.name.endswith(".slice")

    @property
    def full_name(self) -> str:
        """The unit's name in systemd."""
        return self.name if self.is_slice else f"{self.prefix}-{self.name}.scope"

    def slice_or_default(self, *, rootless: bool) -> str:
        """The slice that the unit goes into."""
        return self.slice or ("user.slice" if rootless else "system.slice")


def unit_of(cgroups_path: str, container_id: str) -> Unit:
    """The unit that `cgroupsPath` names, for an empty one runc's default. Raises Failure for another form."""
    if not cgroups_path:
        return Unit("", "runc", container_id)
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise Failure(
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
            f'got "{cgroups_path}" instead'
        )
    return Unit(*parts)


def expand_slice(name: str) -> str:
    """The cgroup of a slice: `a-b.slice` is `/a.slice/a-b.slice` (systemd.slice(5)). Raises Failure."""
    stem = name.removesuffix(".slice")
    if stem == name or "/" in name:
        raise Failure(f"invalid slice name: {name}")
    if stem == "-":
        return ""
    words = stem.split("-")
    if not all(words):
        raise Failure(f"invalid slice name: {name}")
    return "".join(f"/{'-'.join(words[: index + 1])}.slice" for index in range(len(words)))


def new(unit: Unit, annotations: dict[str, str], rules: list[Rule], *, rootless: bool) -> Manager:
    """The cgroups of a new container. Raises Failure where systemd does not run or the annotations are bad."""
    if not os.path.isdir("/run/systemd/system"):
        raise Failure("systemd not running on this host, cannot use systemd cgroups manager")
    scope = _Scope(unit, rootless, systemd_properties.of_annotations(annotations))
    directory = expand_slice(unit.slice_or_default(rootless=rootless))
    if files.is_unified():
        if rootless:
            directory = scope.control_group() + directory
        paths = {"": f"{files.UNIFIED}{directory}/{unit.full_name}"}
        return UnifiedManager(scope, paths, rules)
    if rootless:
        raise Failure("cannot use rootless systemd cgroups manager on cgroup v1")
    return LegacyManager(scope, v1.paths_for(f"{directory}/{unit.full_name}", ""), rules)


def existing(kept: dict[str, Any], paths: dict[str, str], *, rootless: bool) -> Manager:
    """The cgroups of a container that exists; `kept` is what state.json has under `config.cgroups`."""
    scope = _Scope(Unit(kept.get("parent") or "", kept.get("scope_prefix") or "", kept["name"]), rootless, [])
    return UnifiedManager(scope, paths, None) if files.is_unified() else LegacyManager(scope, paths, None)


@dataclass(slots=True)
class _Scope:
    """A unit and the connection to the systemd that has it."""

    unit: Unit
    rootless: bool
    extra: Properties
    """Properties that the annotations add."""
    _connection: Connection | None = None
    _version: int = 0
    _subscribed: bool = False

    def _bus(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(user_bus() if self.rootless else SYSTEM_BUS)
        return self._connection

    def call(self, method: str, signature: str, *arguments: Any) -> list[Any]:
        """Call a method of systemd's manager."""
        return self._bus().call((_NAME, _PATH, _MANAGER, method), signature, list(arguments))

    def _property(self, name: str) -> str:
        target = (_NAME, _PATH, "org.freedesktop.DBus.Properties", "Get")
        value: str = self._bus().call(target, "ss", [_MANAGER, name])[0].value
        return value

    def version(self) -> int:
        """systemd's version, such as 252."""
        if not self._version:
            text = self._property("Version").lstrip("v")
            digits = text[: next((index for index, letter in enumerate(text) if not letter.isdigit()), len(text))]
            self._version = int(digits or 0)
        return self._version

    def control_group(self) -> str:
        """The cgroup under which this systemd makes its units."""
        return self._property("ControlGroup").rstrip("/")

    def start(self, pid: int, block_io: str) -> None:
        """Make the unit with a process in it; returns once systemd says that it is there."""
        properties = [*self._basics(pid, block_io), *self.extra]
        self._watch_jobs()
        try:
            try:
                job = self._start(properties)
            except BusError as error:
                if error.name != _UNIT_EXISTS:
                    raise
                # One that failed keeps its name until somebody has looked at it.
                self.reset_failed()
                job = self._start(properties)
        except Failure as error:
            raise Failure(f'unable to start unit "{self.unit.full_name}": {error.text}') from None
        result = self._job_result(job)
        if result != "done":
            self.reset_failed()
            raise Failure(f"error creating systemd unit `{self.unit.full_name}`: got `{result}`")

    def _start(self, properties: Properties) -> str:
        pairs = [(name, value) for name, value in properties]
        job: str = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", self.unit.full_name, "replace", pairs, [])[0]
        return job

    def _basics(self, pid: int, block_io: str) -> Properties:
        slice_ = self.unit.slice_or_default(rootless=self.rootless)
        yes = Variant("b", True)
        placement: Properties = (
            [("Wants", Variant("as", [slice_]))]
            if self.unit.is_slice
            else [("Slice", Variant("s", slice_)), ("Delegate", yes), ("PIDs", Variant("au", [pid]))]
        )
        accounting = [(name, yes) for name in ("MemoryAccounting", "CPUAccounting", block_io, "TasksAccounting")]
        return [
            ("Description", Variant("s", f"libcontainer container {self.unit.name}")),
            *placement,
            *accounting,
            ("DefaultDependencies", Variant("b", False)),
        ]

    def _watch_jobs(self) -> None:
        """Get word of every job that ends; systemd refuses to be asked twice."""
        if not self._subscribed:
            self._bus().subscribe(f"type='signal',interface='{_MANAGER}',member='JobRemoved',path='{_PATH}'")
            self.call("Subscribe", "")
            self._subscribed = True

    def _job_result(self, job: str) -> str:
        while True:
            _, path, _, result = self._bus().signal("JobRemoved", _PATIENCE_SECONDS)
            if path == job:
                return str(result)

    def attach(self, sub_cgroup: str, pid: int) -> None:
        """Have systemd move a process into the unit's cgroup, or one below it."""
        self.call("AttachProcessesToUnit", "ssau", self.unit.full_name, f"/{sub_cgroup.lstrip('/')}", [pid])

    def set(self, properties: Properties) -> None:
        """Change properties until the unit ends."""
        try:
            self.call("SetUnitProperties", "sba(sv)", self.unit.full_name, True, properties)
        except Failure as error:
            raise Failure(f"unable to set unit properties: {error.text}") from None

    def stop(self) -> None:
        """End the unit; a unit that has gone with its last process is as good."""
        self._watch_jobs()
        try:
            job = self.call("StopUnit", "ss", self.unit.full_name, "replace")[0]
            self._job_result(job)
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise
        self.reset_failed()

    def reset_failed(self) -> None:
        """Let go of the name of a unit that failed."""
        try:
            self.call("ResetFailedUnit", "s", self.unit.full_name)
        except BusError:
            return


class _ScopeManager(Manager):
    """What a scope is on both kinds of hierarchy; the class beside it in the bases does what cgroup files do."""

    __slots__ = ("_is_made", "_resources", "_scope")

    def __init__(self, scope: _Scope, paths: dict[str, str], rules: list[Rule] | None) -> None:
        super().__init__(paths, rootless=scope.rootless, explicit=True, rules=rules)
        self._scope = scope
        self._resources: Resources = {}
        self._is_made = rules is None

    def create(self, resources: Resources) -> None:
        # The scope comes with its first process.
        self._resources = resources

    def entrance(self, sub_cgroups: dict[str, str] | None = None, init_pid: int = 0) -> Entrance:
        if self._is_made:
            return super().entrance(sub_cgroups, init_pid)
        entrance = Entrance()
        entrance.add_admission(self._start)
        return entrance

    def _start(self, pid: int) -> None:
        try:
            self._make(pid)
        except Failure as error:
            raise Failure(
                f"unable to start container process: unable to apply cgroup configuration: {error.text}"
            ) from None

    def _make(self, pid: int) -> None:
        """Make the scope around its first process."""
        raise NotImplementedError

    def destroy(self) -> None:
        self._scope.stop()
        super().destroy()


class UnifiedManager(_ScopeManager, V2Manager):
    """A scope on v2."""

    __slots__ = ()

    def entrance(self, sub_cgroups: dict[str, str] | None = None, init_pid: int = 0) -> Entrance:
        if not (self._is_made and self.rootless):
            return super().entrance(sub_cgroups, init_pid)
        # Between a login session's cgroup and the user's own systemd, only that systemd can move processes.
        entrance = Entrance()
        sub_cgroup = (sub_cgroups or {}).get("", "")
        entrance.add_admission(lambda pid: self._scope.attach(sub_cgroup, pid))
        return entrance

    def _make(self, pid: int) -> None:
        self._scope.start(pid, "IOAccounting")
        self._is_made = True
        v2.create(self.main_path, self._resources)

    def apply(self, resources: Resources) -> None:
        memory = resources.get("memory") or {}
        if memory.get("checkBeforeUpdate"):
            v2_controllers.check_usage(self.main_path, memory.get("limit") or 0, memory.get("swap") or 0)
        devices = systemd_properties.of_devices(self.rules) if self.rules is not None else []
        self._scope.set(devices + systemd_properties.of_resources_v2(resources, self._scope.version()))
        super().apply(systemd_properties.rounded(resources))


class LegacyManager(_ScopeManager, V1Manager):
    """A scope on v1, and cgroups of the same name in the hierarchies that systemd leaves alone."""

    __slots__ = ()

    def _make(self, pid: int) -> None:
        self._scope.start(pid, "BlockIOAccounting")
        self._is_made = True
        V1Manager.create(self, self._resources)
        for name, path in self.paths.items():
            if name not in ("name=systemd", ""):
                files.write(path, "cgroup.procs", str(pid))

    def apply(self, resources: Resources) -> None:
        v1.check(resources)
        devices = systemd_properties.of_devices(self.rules) if self.rules is not None else []
        properties = devices + systemd_properties.of_resources_v1(resources, self._scope.version())
        self._set_frozen(properties)
        super().apply(systemd_properties.rounded(resources))

    def _set_frozen(self, properties: Properties) -> None:
        """systemd rewrites the device rules with a moment of none in between, which nobody may use."""
        freezes = "freezer" in self.paths and not self.is_frozen()
        if freezes:
            self.freeze()
        try:
            self._scope.set(properties)
        finally:
            if freezes:
                self.thaw()
