"""The higher-level words of a policy as people write them, made into the checks and changes of `words`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookrun.policies import in_bundle, message_reader, mounts, quantities, reader
from hookrun.policies.document import Node
from hookrun.policies.messages import Message

HOST_NAMESPACES = "namespaces.forbidHost"
OF_RESOURCES = ("resources", "devices")  # words that an update is judged by

_DEVICE = ("path", "type", "major", "minor")
_MOUNT = ("destination", "source", "type", "options", "uidMappings", "gidMappings")
_NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_SYSCTL_LISTS = ("forbid", "allow")
_RESOURCES = ("memory", "memorySwap", "cpus", "pids")
_SIZES = ("memory", "memorySwap")
_CAPABILITY = re.compile(r"(CAP_)?[A-Z_]+")
_RLIMITS = (  # getrlimit(2)
    *("AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE"),
    *("NICE", "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"),
)
_RANGE = re.compile(r"(\d+)-(\d+)")
_LARGEST_ID = 0xFFFFFFFE

Step = tuple[str, Any]


@dataclass(frozen=True)
class Word:
    """What a word compiles to: (function's name in `words`, argument) each."""

    checks: tuple[Step, ...] = ()
    changes: tuple[Step, ...] = ()


def _env(node: Node) -> Word:
    return _defaulted("env", node, _variables, unset=Node.words)


def _variables(node: Node) -> dict[str, str]:
    for name in node.members():
        if not name or "=" in name or "\0" in name:
            node.key(name).fail("it is not a valid name of a variable")
    return _texts(node)


def _texts(node: Node) -> dict[str, str]:
    return {name: part.text() for name, part in node.members().items()}


def _defaulted(word: str, node: Node, convert: Callable[[Node], Any], **others: Callable[[Node], Any]) -> Word:
    """A word with `default` and `force`, and maybe `unset`."""
    converters = {"default": convert, "force": convert, **others}
    members = node.members(converters)
    return Word(changes=tuple((f"{word}.{name}", converters[name](part)) for name, part in members.items()))


def _mounts(node: Node) -> Word:
    members = node.members(("add", "forbid", "readOnly"))
    changes: list[Step] = []
    if "add" in members:
        changes.append(("mounts.add", tuple(_mount(part) for part in members["add"].elements())))
    if "readOnly" in members:
        selectors = tuple(reader.selector(part, part.members(mounts.FIELDS)) for part in members["readOnly"].elements())
        changes.append(("mounts.readOnly", selectors))
    if "forbid" not in members:
        return Word(changes=tuple(changes))
    forbidden = tuple(_forbidden(part) for part in members["forbid"].elements())
    return Word((("mounts.forbid", forbidden),), tuple(changes))


def _mount(node: Node) -> dict[str, Any]:
    members = node.members(_MOUNT)
    if "destination" not in members:
        node.fail("destination is missing")
    if not members["destination"].text().startswith("/"):
        members["destination"].fail("it must be absolute")
    for name in ("source", "type"):
        if name in members:
            members[name].text()
    if "options" in members:
        for option in members["options"].elements():
            option.text()
    found: dict[str, Any] = node.value
    return found


def _forbidden(node: Node) -> tuple[Any, Message]:
    members = node.members((*mounts.FIELDS, "message"))
    message = message_reader.read(members.pop("message")) if "message" in members else ""
    return reader.selector(node, members), message


def _capabilities(node: Node) -> Word:
    members = node.members(("drop", "allow"))
    return Word(
        changes=tuple(
            (f"capabilities.{name}", tuple(_capability(one) for one in part.one_or_more()))
            for name, part in members.items()
        )
    )


def _capability(node: Node) -> str:
    name = node.text().upper()
    if not _CAPABILITY.fullmatch(name):
        node.fail(f"invalid capability {name!r}")
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _rlimits(node: Node) -> Word:
    return Word(changes=(("rlimits", tuple(_rlimit(node, name, part) for name, part in node.members().items())),))


def _rlimit(node: Node, name: str, part: Node) -> dict[str, Any]:
    kind = name.upper().removeprefix("RLIMIT_")
    if kind not in _RLIMITS:
        node.key(name).fail(f"unknown rlimit {name!r}: use one of {', '.join(_RLIMITS)}")
    members = part.members(("soft", "hard"))
    if set(members) != {"soft", "hard"}:
        part.fail("soft and hard are both required")
    soft, hard = (members[key].whole_number() for key in ("soft", "hard"))
    if not 0 <= soft <= hard:
        part.fail("soft must be between 0 and hard")
    return {"type": f"RLIMIT_{kind}", "soft": soft, "hard": hard}


def _resources(node: Node) -> Word:
    members = node.members(("default", "max"))
    return Word(
        changes=tuple(
            (f"resources.{name}", {key: _amount(key, one) for key, one in part.members(_RESOURCES).items()})
            for name, part in members.items()
        )
    )


def _amount(kind: str, node: Node) -> float:
    value = quantities.size(node) if kind in _SIZES else node.number() if kind == "cpus" else node.whole_number()
    if value <= 0:
        node.fail("it must be greater than zero")
    return value


def _devices(node: Node) -> Word:
    members = node.members(("forbid", "allow", "message"))
    message = message_reader.read(members["message"]) if "message" in members else ""
    checks: list[Step] = []
    if "forbid" in members:
        forbidden = tuple(_forbidden_device(part, message) for part in members["forbid"].elements())
        checks.append(("devices.forbid", forbidden))
    if "allow" in members:
        allowed = tuple(_allowed_device(part) for part in members["allow"].elements())
        checks.append(("devices.allow", (allowed, message)))
    if not checks:
        node.fail("it must have one of forbid, allow")
    return Word(tuple(checks))


def _forbidden_device(node: Node, message: Message) -> tuple[Any, Message]:
    members = node.members((*_DEVICE, "message"))
    message = message_reader.read(members.pop("message")) if "message" in members else message
    return reader.selector(node, members, _DEVICE), message


def _allowed_device(node: Node) -> tuple[Any, ...]:
    members = node.members(_DEVICE)
    if not {"type", "major"} <= set(members):
        node.fail("type and major are both required: a path does not say which device lies there")
    return reader.selector(node, members, _DEVICE)


def _seccomp(node: Node) -> Word:
    return _defaulted("seccomp", node, _profile)


def _profile(node: Node) -> dict[str, Any]:
    """A seccomp profile in config.json's form, given in place or as a JSON file's path, absolute or in a bundle."""
    profile = node.value if isinstance(node.value, dict) else _profile_in_file(node)
    if "archMap" in profile:
        node.fail("it is in Docker's form: what goes into config.json has `architectures`, and no `archMap`")
    if not isinstance(profile.get("defaultAction"), str):
        node.fail("not a seccomp profile: `defaultAction` is missing")
    return profile


def _profile_in_file(node: Node) -> dict[str, Any]:
    path = Path(in_bundle.absolute(node))
    if not path.is_absolute():
        node.fail("it must be an absolute path, or the profile itself")
    try:
        profile = json.loads(path.read_bytes())
    except OSError as error:
        node.fail(f"cannot read {path}: {os.strerror(error.errno or 0)}")
    except ValueError:
        node.fail(f"{path} is not JSON")
    if not isinstance(profile, dict):
        node.fail(f"{path} is not a JSON object")
    return profile


def _apparmor(node: Node) -> Word:
    return _defaulted("apparmor", node, Node.text)


def _switch(name: str) -> Callable[[Node], Word]:
    def read(node: Node) -> Word:
        return Word(changes=((name, True),) if node.flag() else ())

    return read


def _sysctl(node: Node) -> Word:
    members = node.members(("default", "force", "forbid", "allow"))
    checks = [("sysctl.names", (name == "allow", members[name].words())) for name in _SYSCTL_LISTS if name in members]
    changes = [(f"sysctl.{name}", _texts(part)) for name, part in members.items() if name not in _SYSCTL_LISTS]
    return Word(tuple(checks), tuple(changes))


def _annotations(node: Node) -> Word:
    return _defaulted("annotations", node, _texts, unset=Node.words)


def _user(node: Node) -> Word:
    members = node.members(("forbidRoot", "uids", "gids"))
    checks: list[Step] = []
    if "forbidRoot" in members and members["forbidRoot"].flag():
        checks.append(("user.forbidRoot", True))
    for name in ("uids", "gids"):
        if name in members:
            checks.append(("user.range", (name[:-1], tuple(_range(one) for one in members[name].one_or_more()))))
    return Word(tuple(checks))


def _range(node: Node) -> tuple[int, int]:
    """One id, or `1000-65535`."""
    found = _RANGE.fullmatch(node.value) if isinstance(node.value, str) else None
    low, high = (int(found[1]), int(found[2])) if found else (node.whole_number(), node.whole_number())
    if not 0 <= low <= high <= _LARGEST_ID:
        node.fail("it must be an id, or a range like 1000-65535")
    return low, high


def _namespaces(node: Node) -> Word:
    members = node.members(("forbidHost",))
    if "forbidHost" not in members:
        node.fail("forbidHost is missing")
    return Word(((HOST_NAMESPACES, tuple(kind.word_of(_NAMESPACES) for kind in members["forbidHost"].one_or_more())),))


WORDS: dict[str, Callable[[Node], Word]] = {
    "env": _env,
    "mounts": _mounts,
    "capabilities": _capabilities,
    "rlimits": _rlimits,
    "resources": _resources,
    "devices": _devices,
    "seccomp": _seccomp,
    "apparmor": _apparmor,
    "noNewPrivileges": _switch("noNewPrivileges"),
    "readonlyRootfs": _switch("readonlyRootfs"),
    "sysctl": _sysctl,
    "annotations": _annotations,
    "user": _user,
    "namespaces": _namespaces,
}
