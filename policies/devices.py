"""The word `devices`: which devices a container may have, as nodes in its /dev and as rules of its devices cgroup.

So are block devices whose file systems it has mounted for it: who writes to one of them needs no node.

Engines write a rule for each node that they add (`--device`), and rules alone (`--device-cgroup-rule`): with
CAP_MKNOD, which they give by default, a rule is as good as the node.
"""

from __future__ import annotations

from typing import Any

from hookrun.policies import conditions, mounts
from hookrun.policies.pointer import ABSENT, Fault, part

Config = dict[str, Any]
Device = dict[str, Any]

# What a device must be like: (its field, tests) each.
Selector = tuple[tuple[str, tuple[conditions.Test, ...]], ...]

# The devices of every container's /dev (config-linux.md "Default Devices"), pseudo terminals, and /dev/net/tun, which
# runc allows by itself: type, major, minor.
_STANDARD = frozenset(
    ("c", major, minor) for major, minors in {1: (3, 5, 7, 8, 9), 5: (0, 1, 2), 10: (200,)}.items() for minor in minors
)
_PTS = ("c", 136)
_HARMLESS = ("p",)  # a named pipe
_ANY = -1


def forbidden(config: Config, invocation: Config, rules: tuple[tuple[Selector, str], ...]) -> str:
    """The message for the first device that one of the selectors means."""
    for device in (*_nodes(config), *_mounted(config, invocation)):
        for selector, message in rules:
            if _fits(device, selector) or (_is_any(device) and _overlaps(device, selector)):
                return message or f"the device {_node_text(device)} is not allowed"
    for device in _allowing(config):
        for selector, message in rules:
            if "path" not in dict(selector) and _overlaps(device, selector):
                return message or f"the device rule {_rule_text(device)} is not allowed"
    return ""


def outside(config: Config, invocation: Config, rule: tuple[tuple[Selector, ...], str]) -> str:
    """The message for the first device that is neither a standard one nor one that a selector means."""
    selectors, message = rule
    known = set()
    for device in (*_nodes(config), *_mounted(config, invocation)):
        numbers = _numbers(device)
        if not _is_standard(numbers) and not any(_fits(device, selector) for selector in selectors):
            return message or f"the device {_node_text(device)} is not allowed"
        known.add(numbers)
    for device in _allowing(config):
        numbers = _numbers(device)
        if numbers in known or _is_standard(numbers) or any(_fits(device, selector) for selector in selectors):
            continue
        return message or f"the device rule {_rule_text(device)} is not allowed"
    return ""


def _nodes(config: Config) -> list[Device]:
    return [device for device in _listed(config, "linux", "devices") if device.get("type") not in _HARMLESS]


def _mounted(config: Config, invocation: Config) -> list[Device]:
    """The block devices of the file systems that the config mounts, as nodes; any, where that can't be known."""
    found: list[Device] = []
    for mount in _listed(config, "mounts"):
        facts = None if mounts.is_bind(mount) else invocation["look"](mount)
        if facts is None:
            continue
        numbers = [[int(number) for number in device.split(":")] for device in facts.devices]
        if facts.may_be_anything:
            numbers.append([_ANY, _ANY])
        found += [
            {"path": mount.get("source"), "type": "b", "major": major, "minor": minor} for major, minor in numbers
        ]
    return found


def _is_any(device: Device) -> bool:
    return _numbers(device)[1] == _ANY


def _allowing(config: Config) -> list[Device]:
    """The rules that let a container read or write something: making nodes alone (`m`) opens none."""
    rules = _listed(config, "linux", "resources", "devices")
    return [rule for rule in rules if rule.get("allow") and set(rule.get("access") or "rwm") & set("rw")]


def _listed(config: Config, *names: str) -> list[Device]:
    found = part(config, *names) or []
    if not isinstance(found, list) or not all(isinstance(device, dict) for device in found):
        raise Fault(f"/{'/'.join(names)} must be a list of objects")
    return found


def _numbers(device: Device) -> tuple[str, int, int]:
    """Type, major and minor number; "a" and -1 for any. `u` is a character device too."""
    kind = device.get("type") or "a"
    major, minor = device.get("major"), device.get("minor")
    return "c" if kind == "u" else kind, _ANY if major is None else major, _ANY if minor is None else minor


def _is_standard(numbers: tuple[str, int, int]) -> bool:
    return numbers in _STANDARD or numbers[:2] == _PTS


def _field(device: Device, name: str) -> Any:
    if name == "path":
        return device.get("path", ABSENT)
    kind, major, minor = _numbers(device)
    value = {"type": kind, "major": major, "minor": minor}[name]
    return ABSENT if value in ("a", _ANY) else value


def _fits(device: Device, selector: Selector) -> bool:
    """Whether all that a device stands for is what a selector means: `any` is no number."""
    values = [(_field(device, name), tests) for name, tests in selector]
    return all(value is not ABSENT and conditions.fits(value, tests) for value, tests in values)


def _overlaps(device: Device, selector: Selector) -> bool:
    """Whether a selector means some of what a rule stands for."""
    values = [(_field(device, name), tests) for name, tests in selector]
    return all(value is ABSENT or conditions.fits(value, tests) for value, tests in values)


def _node_text(device: Device) -> str:
    return f"{device.get('path')} ({_rule_text(device)})"


def _rule_text(device: Device) -> str:
    kind, major, minor = _numbers(device)
    numbers = ":".join("*" if number == _ANY else str(number) for number in (major, minor))
    access = device.get("access")
    return f"{kind} {numbers} {access}" if access else f"{kind} {numbers}"
