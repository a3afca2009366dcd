"""Container Device Interface: the devices that a container asks for, and what they change about it.

Sources: CDI's SPEC.md 1.1.0; container-device-interface pkg/cdi (annotations.go, cache.go, container-edits.go,
oci.go). Specs are read when a container asks for a device, and only then: drivers write them at boot.
"""

from __future__ import annotations

import marshal
import os
import stat
from typing import Any

from hookrun.hooks import cdi_spec, inject, lines
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import Entry, Injected, Read

ANNOTATIONS = "cdi.k8s.io/"
_LISTS = ("env", "deviceNodes", "netDevices", "mounts", "hooks", "additionalGids")
_FILE_KINDS = {stat.S_IFBLK: "b", stat.S_IFCHR: "c", stat.S_IFIFO: "p"}


def injected(config: dict[str, Any], settings: dict[str, Any], read: Read) -> tuple[dict[str, Any], list[Injected]]:
    """The config with the devices that it asks for, and the hooks that came with them. Raises HookError.

    `settings` is the snapshot's part: `directories`, and `environment`, the variable that may ask for devices.
    """
    if not settings["environment"] and not _is_annotated(config):
        return config, []
    devices = requested(config, settings["environment"])
    if not devices:
        return config, []
    return inject.add(*with_devices(config, devices, settings["directories"], read))


def _is_annotated(config: dict[str, Any]) -> bool:
    annotations = config.get("annotations")
    return isinstance(annotations, dict) and any(name.startswith(ANNOTATIONS) for name in annotations)


def requested(config: dict[str, Any], variable: str) -> list[str]:
    """The qualified names of the devices that the config asks for, each once.

    By annotations and, unless `variable` is "", by the environment variable of that name. Raises HookError for a name
    that is none.
    """
    found: list[str] = []
    for name, value in (config.get("annotations") or {}).items():
        if name.startswith(ANNOTATIONS):
            found += value.split(",")
    for pair in (config.get("process") or {}).get("env") or () if variable else ():
        name, _, value = pair.partition("=")
        if name == variable:
            found += filter(None, value.split(","))
    for device in found:
        problem = cdi_spec.device_problem(device)
        if problem:
            raise HookError(f"invalid CDI device name {device!r}: {problem}")
    return list(dict.fromkeys(found))


def with_devices(
    config: dict[str, Any], devices: list[str], directories: list[str], read: Read
) -> tuple[dict[str, Any], list[Entry]]:
    """The config with all edits of the devices but their hooks, which come back as entries. Raises HookError."""
    registry = _Registry(directories, read)
    edits, entries = registry.edits(devices)
    # The quickest deep copy there is: a config holds nothing but JSON values.
    config = marshal.loads(marshal.dumps(config))
    _apply(config, edits)
    return config, entries


class _Spec:
    """A spec file that is in order."""

    __slots__ = ("kind", "path", "priority", "text", "value")

    def __init__(self, path: str, priority: int, value: dict[str, Any], text: str) -> None:
        self.path = path
        self.priority = priority
        self.value = value
        self.text = text
        self.kind: str = value["kind"]

    def hooks(self, edits: dict[str, Any]) -> list[Entry]:
        """The hooks of one of its containerEdits."""
        every = [
            hook
            for name, part in self.value.items()
            if name in ("containerEdits", "devices")
            for holder in (part if name == "devices" else [self.value])
            for hook in (holder.get("containerEdits") or {}).get("hooks") or ()
        ]
        return [self._entry(hook, [other is hook for other in every].index(True)) for hook in edits.get("hooks") or ()]

    def _entry(self, hook: dict[str, Any], number: int) -> Entry:
        kept = {name: value for name, value in hook.items() if name != "hookName" and value not in (None, [])}
        return {
            "stages": [hook["hookName"]],
            "hook": kept,
            "when": None,
            "source": f"cdi {self.kind}",
            "file": self.path,
            "line": lines.of_key(self.text, "hookName", number),
        }


class _Registry:
    """The devices that all spec files define, by their qualified names."""

    __slots__ = ("_conflicts", "_devices", "_problems", "_read")

    def __init__(self, directories: list[str], read: Read) -> None:
        self._devices: dict[str, tuple[_Spec, dict[str, Any]]] = {}
        self._conflicts: dict[str, list[str]] = {}
        self._problems: list[str] = []
        self._read = read
        for priority, directory in enumerate(directories):
            for path in _spec_files(directory):
                self._load(path, priority)

    def _load(self, path: str, priority: int) -> None:
        """Take a file's devices in. A bad file is no fault until a device is missing."""
        try:
            value, text = self._read(path)
            if path.endswith(".yaml"):
                value = cdi_spec.words_of_yaml(value)
            cdi_spec.check(value)
        except OSError as error:
            self._problems.append(f"{path}: {error.strerror or error}")
        except (ValueError, HookError) as error:
            self._problems.append(f"{path}: {error}")
        else:
            spec = _Spec(path, priority, value, text)
            for device in value["devices"]:
                self._define(f"{spec.kind}={device['name']}", spec, device)

    def _define(self, name: str, spec: _Spec, device: dict[str, Any]) -> None:
        """The directory with the highest priority wins; two files of one directory are in conflict."""
        other = self._devices.get(name)
        if other is not None and other[0].priority == spec.priority:
            self._conflicts.setdefault(name, [other[0].path]).append(spec.path)
        else:
            self._devices[name] = spec, device
            self._conflicts.pop(name, None)

    def edits(self, devices: list[str]) -> tuple[dict[str, Any], list[Entry]]:
        """All edits together, a spec's own before those of the first of its devices; hooks as entries."""
        self._demand(devices)
        edits: dict[str, Any] = {name: [] for name in _LISTS}
        edits["intelRdt"] = None
        entries: list[Entry] = []
        seen: list[_Spec] = []
        for name in devices:
            spec, device = self._devices[name]
            parts = [device] if spec in seen else [spec.value, device]
            seen.append(spec)
            for part in [holder.get("containerEdits") or {} for holder in parts]:
                for field in _LISTS:
                    edits[field] += part.get(field) or ()
                edits["intelRdt"] = part.get("intelRdt") or edits["intelRdt"]
                entries += spec.hooks(part)
        return edits, entries

    def _demand(self, devices: list[str]) -> None:
        missing = [name for name in devices if name not in self._devices or name in self._conflicts]
        if not missing:
            return
        causes = [self._cause(name) for name in missing] + self._problems
        raise HookError(f"unresolvable CDI devices {', '.join(missing)}: {'; '.join(causes)}")

    def _cause(self, name: str) -> str:
        if name in self._conflicts:
            return f"{name} is defined by {' and by '.join(self._conflicts[name])}"
        kind = name.partition("=")[0]
        known = any(other.startswith(f"{kind}=") for other in self._devices)
        return f"{kind} has no such device" if known else f"no spec of kind {kind}"


def _spec_files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:  # no such directory: no devices from there
        return []
    paths = [f"{directory}/{name}" for name in names if name.endswith((".json", ".yaml"))]
    return [path for path in paths if not os.path.isdir(path)]


def _apply(config: dict[str, Any], edits: dict[str, Any]) -> None:
    """Make the edits, in the order in which CDI's own library makes them."""
    if edits["env"]:
        _set_environment(_object(config, "process"), edits["env"])
    for node in edits["deviceNodes"]:
        _add_device(config, node)
    for device in edits["netDevices"]:
        _object(config, "linux", "netDevices")[device["hostInterfaceName"]] = {"name": device["name"]}
    if edits["mounts"]:
        _add_mounts(config, edits["mounts"])
    if edits["intelRdt"]:
        _object(config, "linux")["intelRdt"] = {name: part for name, part in edits["intelRdt"].items() if part}
    groups = [number for number in edits["additionalGids"] if number]
    if groups:
        user = _object(config, "process", "user")
        user["additionalGids"] = list(dict.fromkeys([*(user.get("additionalGids") or ()), *groups]))


def _object(config: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if not isinstance(config.get(name), dict):
            config[name] = {}
        config = config[name]
    return config


def _list(holder: dict[str, Any], name: str) -> list[Any]:
    found: list[Any] = holder.get(name) or []
    holder[name] = found
    return found


def _set_environment(process: dict[str, Any], pairs: list[str]) -> None:
    """A variable that is there already changes its value in its place; the last of two counts."""
    environment = _list(process, "env")
    places = {pair.partition("=")[0]: place for place, pair in enumerate(environment)}
    for pair in pairs:
        name = pair.partition("=")[0]
        if name in places:
            environment[places[name]] = pair
        else:
            places[name] = len(environment)
            environment.append(pair)


def _add_device(config: dict[str, Any], node: dict[str, Any]) -> None:
    device = _completed(node)
    user = (config.get("process") or {}).get("user") or {}
    for name in ("uid", "gid"):
        if device.get(name) is None and user.get(name):
            device[name] = user[name]
    linux = _object(config, "linux")
    others = [other for other in linux.get("devices") or () if other.get("path") != device["path"]]
    linux["devices"] = [*others, {name: value for name, value in device.items() if value is not None}]
    if device["type"] in ("b", "c"):
        _allow(_list(_object(linux, "resources"), "devices"), device, node.get("permissions") or "rwm")


def _allow(rules: list[Any], device: dict[str, Any], permissions: str) -> None:
    rule = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
    if permissions != "none":
        rule["access"] = permissions
    if rule not in rules:
        rules.append(rule)


def _completed(node: dict[str, Any]) -> dict[str, Any]:
    """The node as config.json has it; what the spec leaves out is taken from the host's device. Raises HookError."""
    path = node.get("hostPath") or node["path"]
    device = {name: node.get(name) for name in ("path", "type", "major", "minor", "fileMode", "uid", "gid")}
    device["major"] = device["major"] or 0
    device["minor"] = device["minor"] or 0
    is_complete = bool(device["type"] and (device["major"] or device["type"] == "p"))
    try:
        status = os.lstat(path)
    except OSError as error:
        if is_complete:
            return device
        raise HookError(f"CDI device {path}: {error.strerror}") from None
    kind = _FILE_KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None and device["fileMode"] is None:
        device["fileMode"] = stat.S_IMODE(status.st_mode)
    if is_complete:
        return device
    if kind is None:
        raise HookError(f"CDI device {path}: not a device node")
    if (device["type"] or kind) != kind:
        raise HookError(f"CDI device {path}: it is of type {kind}, the spec says {device['type']}")
    device["type"] = kind
    if kind != "p" and not device["major"]:
        device["major"], device["minor"] = os.major(status.st_rdev), os.minor(status.st_rdev)
    return device


def _add_mounts(config: dict[str, Any], mounts: list[dict[str, Any]]) -> None:
    """A mount takes the place of the one on the same path; then all go by the depth of their paths."""
    found = _list(config, "mounts")
    maps_ids = any(space.get("type") == "user" for space in (config.get("linux") or {}).get("namespaces") or ())
    for mount in mounts:
        added = {"destination": mount["containerPath"], "source": mount["hostPath"]}
        if mount.get("type"):
            added["type"] = mount["type"]
        options = list(mount.get("options") or ())
        if maps_ids:
            options += _id_mapping(mount.get("type"), options)
        if options:
            added["options"] = options
        same = [place for place, other in enumerate(found) if other.get("destination") == mount["containerPath"]]
        for place in same[:1]:
            del found[place]
        found.append(added)
    found.sort(key=lambda mount: os.path.normpath(mount.get("destination") or ".").count("/"))


def _id_mapping(kind: str | None, options: list[str]) -> list[str]:
    """The option that has a bind mount's owners fit the container's user namespace."""
    if {"idmap", "ridmap"} & set(options):
        return []
    found = "idmap" if kind == "bind" else ""
    for option in options:
        found = {"bind": "idmap", "rbind": "ridmap"}.get(option, found)
    return [found] if found else []
