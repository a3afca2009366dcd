"""Whether a hook's conditions hold for a config: `when` of oci-hooks(5), as Podman and CRI-O evaluate it.

Source: containers/common pkg/hooks/1.0.0/when.go. Regular expressions come compiled from the snapshot, as what
`_sre.compile` takes: to compile one takes longer than all else about a container's hooks.
"""

from __future__ import annotations

import _sre
from collections.abc import Iterable
from typing import Any

from hookrun.hooks import inject
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import Entry, Injected

# What engines bind by themselves: Podman's hasBindMounts means the mounts that the caller asked for, and config.json
# does not tell them apart.
_ENGINES_OWN = frozenset(
    (
        "/dev/init",
        "/dev/mqueue",
        "/dev/shm",
        "/dev/termination-log",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/passwd",
        "/etc/group",
        "/etc/resolv.conf",
        "/proc",
        "/run/.containerenv",
        "/run/podman-init",
        "/run/secrets",
        "/sbin/docker-init",
        "/sys",
        "/sys/fs/cgroup",
    )
)


def injected(config: dict[str, Any], entries: Iterable[Entry]) -> tuple[dict[str, Any], list[Injected]]:
    """The config with the hooks of those entries that are for it, and what was added. Raises HookError."""
    return inject.add(config, matching(config, entries))


def filters(config: dict[str, Any], entries: Iterable[Entry]) -> list[Entry]:
    """The precreate filters for this config, in the order in which they run. Raises HookError."""
    return [entry for entry in matching(config, entries) if inject.PRECREATE in entry["stages"]]


def matching(config: dict[str, Any], entries: Iterable[Entry]) -> list[Entry]:
    """The entries that are for this config, in their order. Raises HookError."""
    return [entry for entry in entries if entry["when"] is None or matches(entry, config)]


def matches(entry: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether the entry's hook is for this container. Raises HookError where `commands` has no command to look at."""
    when = entry["when"]
    is_any: bool = when["or"]
    met = 0
    for holds in _conditions(when, config):
        if holds and is_any:
            return True
        if not holds and not is_any:
            return False
        met += holds
    process = config.get("process")
    if when["commands"] and process:
        arguments = process.get("args")
        if not arguments:
            raise HookError(f"{entry['file']}: process.args must have at least one entry")
        return any(_found(pattern, arguments[0]) for pattern in when["commands"])
    return met > 0


def _conditions(when: dict[str, Any], config: dict[str, Any]) -> list[bool]:
    found: list[bool] = []
    if when["always"] is not None:
        found.append(when["always"])
    if when["hasBindMounts"] is not None:
        found.append(when["hasBindMounts"] and has_bind_mounts(config))
    annotations = config.get("annotations") or {}
    for key, value in when["annotations"]:
        found.append(any(_found(key, name) and _found(value, text) for name, text in annotations.items()))
    return found


def has_bind_mounts(config: dict[str, Any]) -> bool:
    """Whether host paths are mounted that the engine did not mount on its own account."""
    return any(
        (mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or ()))
        and mount.get("destination") not in _ENGINES_OWN
        for mount in config.get("mounts") or ()
    )


def _found(pattern: tuple[Any, ...], text: str) -> bool:
    return _sre.compile(*pattern).search(text) is not None
