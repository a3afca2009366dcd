"""What the higher-level words of policies do: checks that may refuse a config, and changes to a draft of it.

`word_reader` makes the arguments. A check returns the message for the user, "" where there is nothing to refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hookrun.policies import devices, limits, mounts
from hookrun.policies.draft import Draft
from hookrun.policies.pointer import Fault, part

Config = dict[str, Any]

_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_SWAPPED = {ord("."): "/", ord("/"): "."}
_HOST_PATHS = ("/proc/1/ns/", "/proc/self/ns/")
_DOCKERS_HOST_NETWORK = "/docker/netns/default"


def _forbidden_sysctl(config: Config, invocation: Config, rules: tuple[bool, tuple[str, ...]]) -> str:
    """`rules` is whether the names are the allowed ones, and the names; one that ends in `*` is a beginning."""
    are_allowed, names = rules
    for name in part(config, "linux", "sysctl") or ():
        if any(_is_named(name, pattern) for pattern in names) != are_allowed:
            return f"the sysctl {name} is not allowed"
    return ""


def _is_named(name: str, pattern: str) -> bool:
    path = _sysctl_path(pattern)
    return _sysctl_path(name).startswith(path[:-1]) if path.endswith("*") else _sysctl_path(name) == path


def _sysctl_path(name: str) -> str:
    """Below /proc/sys: `net.ipv4.conf.eth0/1.mtu` and `net/ipv4/conf/eth0.1/mtu` are the latter (sysctl.d(5))."""
    first = next((letter for letter in name if letter in "./"), "")
    return name.translate(_SWAPPED) if first == "." else name


def _root_user(config: Config, invocation: Config, argument: bool) -> str:
    return "running as root is not allowed" if _user_id(config, "uid") == 0 else ""


def _user_outside(config: Config, invocation: Config, rule: tuple[str, tuple[tuple[int, int], ...]]) -> str:
    kind, ranges = rule
    number = _user_id(config, kind)
    numbers = [] if number is None else [number]
    if kind == "gid":
        numbers += part(config, "process", "user", "additionalGids") or ()
    for one in numbers:
        if not any(low <= one <= high for low, high in ranges):
            text = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
            return f"running with the {kind} {one} is not allowed: it must be in {text}"
    return ""


def _user_id(config: Config, kind: str) -> int | None:
    """The process's uid or gid, 0 unless it says otherwise; None where there is no process."""
    if part(config, "process") is None:
        return None
    number = part(config, "process", "user", kind) or 0
    if not isinstance(number, int):
        raise Fault(f"/process/user/{kind} must be a number")
    return number


def _host_namespace(config: Config, invocation: Config, kinds: tuple[str, ...]) -> str:
    namespaces = part(config, "linux", "namespaces") or []
    present = {entry.get("type"): entry.get("path") or "" for entry in namespaces}
    joined = invocation.get("host_namespaces") or ()
    for kind in kinds:
        if kind not in present or kind in joined or _is_host_path(present[kind]):
            return f"the host's {kind} namespace is not allowed"
    if "user" in kinds and _maps_hosts_root(config):
        return "a user namespace with the host's root in it is not allowed"
    return ""


def _maps_hosts_root(config: Config) -> bool:
    mappings = part(config, "linux", "uidMappings") or ()
    return any(entry.get("hostID") == 0 and entry.get("size") for entry in mappings)


def _is_host_path(path: str) -> bool:
    return path.startswith(_HOST_PATHS) or path.endswith(_DOCKERS_HOST_NETWORK)


def _default_env(draft: Draft, variables: dict[str, str]) -> None:
    _set_env(draft, variables, replace=False)


def _force_env(draft: Draft, variables: dict[str, str]) -> None:
    _set_env(draft, variables, replace=True)


def _set_env(draft: Draft, variables: dict[str, str], *, replace: bool) -> None:
    if "process" not in draft.root:
        return
    entries = draft.list("process", "env")
    names = [_name(entry) for entry in entries]
    for name, value in variables.items():
        if name not in names:
            entries.append(f"{name}={value}")
        elif replace:
            place = names.index(name)
            entries[place] = f"{name}={value}"
            _drop_others(entries, names, place)


def _drop_others(entries: list[str], names: list[str], place: int) -> None:
    """Of several variables of one name, programs take the first or the last: leave one."""
    for number in range(len(names) - 1, place, -1):
        if names[number] == names[place]:
            del entries[number], names[number]


def _unset_env(draft: Draft, unwanted: tuple[str, ...]) -> None:
    if "process" in draft.root:
        entries = draft.list("process", "env")
        entries[:] = [entry for entry in entries if _name(entry) not in unwanted]


def _name(entry: Any) -> str:
    return entry.partition("=")[0] if isinstance(entry, str) else ""


def _drop_capabilities(draft: Draft, dropped: tuple[str, ...]) -> None:
    _keep_capabilities(draft, lambda name: name not in dropped and "ALL" not in dropped)


def _allow_capabilities(draft: Draft, allowed: tuple[str, ...]) -> None:
    _keep_capabilities(draft, lambda name: name in allowed)


def _keep_capabilities(draft: Draft, is_kept: Callable[[str], bool]) -> None:
    sets = part(draft.root, "process", "capabilities") or {}
    for name in _CAPABILITY_SETS:
        present = sets.get(name)
        if present:
            draft.object("process", "capabilities")[name] = [one for one in present if is_kept(one)]


def _set_rlimits(draft: Draft, rlimits: tuple[dict[str, Any], ...]) -> None:
    if "process" not in draft.root:
        return
    present = draft.list("process", "rlimits")
    for rlimit in rlimits:
        kinds = [entry.get("type") for entry in present]
        if rlimit["type"] in kinds:
            present[kinds.index(rlimit["type"])] = rlimit
        else:
            present.append(rlimit)


def _default_seccomp(draft: Draft, profile: dict[str, Any]) -> None:
    if not part(draft.root, "linux", "seccomp"):
        draft.object("linux")["seccomp"] = profile


def _force_seccomp(draft: Draft, profile: dict[str, Any]) -> None:
    draft.object("linux")["seccomp"] = profile


def _default_apparmor(draft: Draft, profile: str) -> None:
    if "process" in draft.root and not part(draft.root, "process", "apparmorProfile"):
        draft.object("process")["apparmorProfile"] = profile


def _force_apparmor(draft: Draft, profile: str) -> None:
    if "process" in draft.root:
        draft.object("process")["apparmorProfile"] = profile


def _no_new_privileges(draft: Draft, argument: bool) -> None:
    if "process" in draft.root:
        draft.object("process")["noNewPrivileges"] = True


def _read_only_rootfs(draft: Draft, argument: bool) -> None:
    if "root" in draft.root:
        draft.object("root")["readonly"] = True


def _default_sysctl(draft: Draft, values: dict[str, str]) -> None:
    _set_defaults(draft, ("linux", "sysctl"), values)


def _force_sysctl(draft: Draft, values: dict[str, str]) -> None:
    draft.object("linux", "sysctl").update(values)


def _default_annotations(draft: Draft, values: dict[str, str]) -> None:
    _set_defaults(draft, ("annotations",), values)


def _force_annotations(draft: Draft, values: dict[str, str]) -> None:
    draft.object("annotations").update(values)


def _unset_annotations(draft: Draft, names: tuple[str, ...]) -> None:
    if draft.root.get("annotations"):
        for name in names:
            draft.object("annotations").pop(name, None)


def _set_defaults(draft: Draft, place: tuple[str, ...], values: dict[str, str]) -> None:
    present = draft.object(*place)
    for name, value in values.items():
        present.setdefault(name, value)


CHECKS: dict[str, Callable[[Config, Config, Any], str]] = {
    "mounts.forbid": mounts.forbidden,
    "sysctl.names": _forbidden_sysctl,
    "user.forbidRoot": _root_user,
    "user.range": _user_outside,
    "namespaces.forbidHost": _host_namespace,
    "devices.forbid": devices.forbidden,
    "devices.allow": devices.outside,
}
CHANGES: dict[str, Callable[[Draft, Any], None]] = {
    "env.default": _default_env,
    "env.force": _force_env,
    "env.unset": _unset_env,
    "mounts.add": mounts.add,
    "mounts.readOnly": mounts.make_read_only,
    "capabilities.drop": _drop_capabilities,
    "capabilities.allow": _allow_capabilities,
    "rlimits": _set_rlimits,
    "resources.default": limits.default,
    "resources.max": limits.cap,
    "seccomp.default": _default_seccomp,
    "seccomp.force": _force_seccomp,
    "apparmor.default": _default_apparmor,
    "apparmor.force": _force_apparmor,
    "noNewPrivileges": _no_new_privileges,
    "readonlyRootfs": _read_only_rootfs,
    "sysctl.default": _default_sysctl,
    "sysctl.force": _force_sysctl,
    "annotations.default": _default_annotations,
    "annotations.force": _force_annotations,
    "annotations.unset": _unset_annotations,
}
