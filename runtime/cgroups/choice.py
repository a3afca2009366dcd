"""Which Manager a container's cgroups have: v1, v2, or one that asks systemd."""

from __future__ import annotations

from typing import Any

from hookrun.runtime.cgroups import files, resources
from hookrun.runtime.cgroups.devices import rules as devices
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.cgroups.systemd import manager as by_systemd
from hookrun.runtime.cgroups.v1 import manager as v1
from hookrun.runtime.cgroups.v2 import manager as v2
from hookrun.runtime.documents import Config, Resources, SavedState
from hookrun.runtime.log import Log


def for_config(config: Config, container_id: str, systemd: bool, rootless_ignore: bool, log: Log) -> Manager:
    """The cgroups of a new container, not made yet.

    `systemd`: made by systemd (`--systemd-cgroup`). `rootless_ignore`: cgroups that this user may not make or enter
    are done without. Raises Failure where the host, the path or a value in the config does not allow it.
    """
    linux = config.get("linux") or {}
    limits = linux.get("resources") or {}
    memory = limits.get("memory") or {}
    if memory.get("kernel") is not None:
        log.warning("Kernel memory settings are ignored and will be removed")
    rules = devices.rules_of(config)
    cgroups_path = linux.get("cgroupsPath") or ""
    if systemd:
        unit = by_systemd.unit_of(cgroups_path, container_id)
        _check(limits)
        return by_systemd.new(unit, config.get("annotations") or {}, rules, rootless=rootless_ignore)
    _check(limits)
    explicit = bool(cgroups_path)
    if files.is_unified():
        paths = {"": v2.path_for(cgroups_path, container_id)}
        return v2.V2Manager(paths, rootless=rootless_ignore, explicit=explicit, rules=rules)
    paths = v1.paths_for(cgroups_path, container_id)
    return v1.V1Manager(paths, rootless=rootless_ignore, explicit=explicit, rules=rules)


def _check(limits: Resources) -> None:
    """Raise Failure for limits that this host's kind of hierarchy can't have, before anything is made."""
    if files.is_unified():
        memory = limits.get("memory") or {}
        resources.swap_alone(memory.get("swap") or 0, memory.get("limit") or 0)
    else:
        v1.check(limits)


def from_state(state: SavedState) -> Manager:
    """The cgroups of a container that exists, from its state.json."""
    kept = state["config"].get("cgroups") or {}
    paths: dict[str, str] = dict(state["cgroup_paths"])
    rootless = bool(kept.get("Rootless"))
    if kept.get("Systemd"):
        return by_systemd.existing(kept, paths, rootless=rootless)
    explicit = bool(kept.get("path"))
    if files.is_unified():
        return v2.V2Manager(paths, rootless=rootless, explicit=explicit, rules=None)
    return v1.V1Manager(paths, rootless=rootless, explicit=explicit, rules=None)


def state_form(config: Config, container_id: str, *, systemd: bool, rootless_ignore: bool) -> dict[str, Any]:
    """What runc's state.json has under `config.cgroups`; `from_state` reads it back."""
    linux = config.get("linux") or {}
    cgroups_path = linux.get("cgroupsPath") or ""
    kept = {"name": "" if cgroups_path else container_id, "parent": "", "path": cgroups_path, "scope_prefix": ""}
    if systemd:
        unit = by_systemd.unit_of(cgroups_path, container_id)
        kept = {"name": unit.name, "parent": unit.slice, "path": "", "scope_prefix": unit.prefix}
    limits = resources.state_form(linux.get("resources") or {}, devices.rules_of(config))
    return {**kept, **limits, "Systemd": systemd, "Rootless": rootless_ignore}
