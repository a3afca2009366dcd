"""Whether a CDI spec is in order: its fields, names and version.

Sources: CDI's SPEC.md 1.1.0; container-device-interface specs-go (config.go, version.go), pkg/parser/parser.go,
pkg/cdi/container-edits.go (Validate).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hookrun.hooks.entries import STAGES
from hookrun.hooks.errors import HookError

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
_EARLIEST = "0.3.0"
_LONGEST_PREFIX = 253
_LONGEST_NAME = 63

# Shapes: a type, [the shape of the elements], {field: shape}; under "*" any field.
_STRINGS = [str]
_EDITS: dict[str, Any] = {
    "env": _STRINGS,
    "deviceNodes": [
        {
            "path": str,
            "hostPath": str,
            "type": str,
            "major": int,
            "minor": int,
            "fileMode": int,
            "permissions": str,
            "uid": int,
            "gid": int,
        }
    ],
    "netDevices": [{"hostInterfaceName": str, "name": str}],
    "hooks": [{"hookName": str, "path": str, "args": _STRINGS, "env": _STRINGS, "timeout": int}],
    "mounts": [{"hostPath": str, "containerPath": str, "options": _STRINGS, "type": str}],
    "intelRdt": {
        "closID": str,
        "l3CacheSchema": str,
        "memBwSchema": str,
        "schemata": _STRINGS,
        "enableMonitoring": bool,
    },
    "additionalGids": [int],
}
_ANNOTATIONS = {"*": str}
_SPEC: dict[str, Any] = {
    "cdiVersion": str,
    "kind": str,
    "annotations": _ANNOTATIONS,
    "devices": [{"name": str, "annotations": _ANNOTATIONS, "containerEdits": _EDITS}],
    "containerEdits": _EDITS,
}
_WORDS = {str: "a string", int: "a whole number", bool: "true or false"}


def check(spec: Any) -> None:
    """Refuse a spec that CDI refuses. Raises HookError, which names the field."""
    _check_shape(spec, _SPEC, "")
    if not spec:
        raise HookError("no CDI spec")
    _check_kind(spec.get("kind") or "")
    _check_version(spec)
    _check_edits(spec.get("containerEdits") or {}, "containerEdits")
    names = []
    for device in spec.get("devices") or ():
        name = device.get("name") or ""
        problem = name_problem(name, may_start_with_digit=True, others="_-.:")
        if problem:
            raise HookError(f"device {name!r}: {problem}")
        edits = device.get("containerEdits") or {}
        if not any(edits.values()):
            raise HookError(f"device {name!r}: empty containerEdits")
        _check_edits(edits, f"device {name!r}")
        names.append(name)
    if not names:
        raise HookError("a spec needs at least one device")
    if len(set(names)) < len(names):
        raise HookError("duplicate device name")


def words_of_yaml(value: Any, shape: Any = _SPEC) -> Any:
    """A YAML value with strings where a spec wants them and YAML made numbers or booleans of what is written there.

    Source: sigs.k8s.io/yaml, which CDI's own library reads specs with (convertToJSONableObject).
    """
    if isinstance(shape, dict) and isinstance(value, dict):
        return {name: words_of_yaml(part, shape.get(name, shape.get("*"))) for name, part in value.items()}
    if isinstance(shape, list) and isinstance(value, list):
        return [words_of_yaml(part, shape[0]) for part in value]
    if shape is str and isinstance(value, bool):
        return "true" if value else "false"
    if shape is str and isinstance(value, int | float):
        return str(value)
    return value


def device_problem(device: str) -> str:
    """What is wrong with a qualified device name, `vendor.com/class=name`; "" where nothing is."""
    kind, _, name = device.partition("=")
    vendor, _, kind_name = kind.partition("/")
    if not (vendor and kind_name and name):
        return "not of the form vendor/class=name"
    return _kind_problem(kind) or name_problem(name, may_start_with_digit=True, others="_-.:")


def name_problem(name: str, may_start_with_digit: bool = False, others: str = "_-.") -> str:
    """What is wrong with a vendor, a class or the name of a device; "" where nothing is."""
    if not name:
        return "empty name"
    if not (_is_alphanumeric(name[0]) if may_start_with_digit else name[0].isascii() and name[0].isalpha()):
        return f"{name!r} starts with an invalid character"
    if not _is_alphanumeric(name[-1]):
        return f"{name!r} should end with a letter or digit"
    wrong = [character for character in name if not _is_alphanumeric(character) and character not in others]
    return f"{name!r} has an invalid character {wrong[0]!r}" if wrong else ""


def _is_alphanumeric(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _kind_problem(kind: str) -> str:
    vendor, _, name = kind.partition("/")
    if len(vendor) > _LONGEST_PREFIX or len(name) > _LONGEST_NAME:
        return f"{kind!r} is too long"
    return name_problem(vendor) or name_problem(name)


def _check_kind(kind: str) -> None:
    problem = _kind_problem(kind)
    if problem:
        raise HookError(f"kind: {problem}")


def _check_shape(value: Any, shape: Any, place: str) -> None:
    if value is None:
        return
    if isinstance(shape, dict):
        _check_object(value, shape, place)
    elif isinstance(shape, list):
        _check_list(value, shape[0], place)
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise HookError(f"{place} must be {_WORDS[shape]}")


def _check_object(value: Any, shape: dict[str, Any], place: str) -> None:
    if not isinstance(value, dict):
        raise HookError(f"{place or 'a spec'} must be an object")
    for name, part in value.items():
        if name not in shape and "*" not in shape:
            raise HookError(f"{place or 'a spec'} has no field {name!r}")
        _check_shape(part, shape.get(name, shape.get("*")), f"{place}.{name}" if place else name)


def _check_list(value: Any, shape: Any, place: str) -> None:
    if not isinstance(value, list):
        raise HookError(f"{place} must be a list")
    for number, element in enumerate(value):
        if element is None:
            raise HookError(f"{place}[{number}] is empty")
        _check_shape(element, shape, f"{place}[{number}]")


def _check_version(spec: dict[str, Any]) -> None:
    version = (spec.get("cdiVersion") or "").removeprefix("v")
    if version not in VERSIONS:
        raise HookError(f"cdiVersion: invalid version {version!r}")
    needed = required_version(spec)
    if VERSIONS.index(version) < VERSIONS.index(needed):
        raise HookError(f"the spec version must be at least v{needed}")


def required_version(spec: dict[str, Any]) -> str:
    """The version in which the newest of the fields that a spec uses came (SPEC.md, "Released versions")."""
    return max(_versions(spec), key=VERSIONS.index)


def _versions(spec: dict[str, Any]) -> Iterator[str]:
    yield _EARLIEST
    devices = spec.get("devices") or []
    if spec.get("annotations") or "." in spec["kind"].partition("/")[2]:
        yield "0.6.0"
    for device in devices:
        if device.get("annotations"):
            yield "0.6.0"
        if (device.get("name") or "")[:1].isdigit():
            yield "0.5.0"
    for edits in [holder.get("containerEdits") or {} for holder in [spec, *devices]]:
        intel = edits.get("intelRdt")
        if edits.get("netDevices") or (intel and (intel.get("schemata") is not None or intel.get("enableMonitoring"))):
            yield "1.1.0"
        if intel is not None or edits.get("additionalGids"):
            yield "0.7.0"
        if any(node.get("hostPath") for node in edits.get("deviceNodes") or ()):
            yield "0.5.0"
        if any(mount.get("type") for mount in edits.get("mounts") or ()):
            yield "0.4.0"


def _check_edits(edits: dict[str, Any], place: str) -> None:
    for pair in edits.get("env") or ():
        _check_pair(pair, place)
    for node in edits.get("deviceNodes") or ():
        _check_node(node, place)
    for hook in edits.get("hooks") or ():
        _check_hook(hook, place)
    for mount in edits.get("mounts") or ():
        if not mount.get("hostPath") or not mount.get("containerPath"):
            raise HookError(f"{place}: a mount needs hostPath and containerPath")
    _check_net_devices(edits.get("netDevices") or [], place)
    group = (edits.get("intelRdt") or {}).get("closID") or ""
    if group != "/" and (len(group) >= 4096 or group in (".", "..") or "/" in group or "\n" in group):
        raise HookError(f"{place}: invalid closID {group!r}")
    if any(not 0 <= number < 2**32 for number in edits.get("additionalGids") or ()):
        raise HookError(f"{place}: additionalGids out of range")


def _check_pair(pair: str, place: str) -> None:
    if pair.find("=") <= 0:
        raise HookError(f"{place}: invalid environment variable {pair!r}")


def _check_node(node: dict[str, Any], place: str) -> None:
    path = node.get("path")
    if not path:
        raise HookError(f"{place}: a device node needs a path")
    if node.get("type") not in (None, "", "b", "c", "u", "p"):
        raise HookError(f"{place}: {path}: invalid type {node['type']!r}")
    permissions = node.get("permissions") or ""
    if permissions != "none" and permissions.strip("rwm"):
        raise HookError(f"{place}: {path}: invalid permissions {permissions!r}")


def _check_hook(hook: dict[str, Any], place: str) -> None:
    if hook.get("hookName") not in STAGES:
        raise HookError(f"{place}: invalid hook name {hook.get('hookName')!r}")
    if not (hook.get("path") or "").startswith("/"):
        raise HookError(f"{place}: a hook's path must be absolute: {hook.get('path')!r}")
    for pair in hook.get("env") or ():
        _check_pair(pair, place)
    if hook.get("timeout") is not None and hook["timeout"] <= 0:
        raise HookError(f"{place}: a hook's timeout must be greater than zero")


def _check_net_devices(devices: list[dict[str, Any]], place: str) -> None:
    for field in ("hostInterfaceName", "name"):
        names = [device.get(field) for device in devices]
        if not all(names):
            raise HookError(f"{place}: a network device needs {field}")
        if len(set(names)) < len(names):
            raise HookError(f"{place}: duplicate {field} of network devices")
