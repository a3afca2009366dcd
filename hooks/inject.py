"""Giving a container its hooks: what all sources share.

An *entry* is a hook with where it belongs and where it comes from:
`{"stages": [...], "hook": {...}, "when": {...} | None, "source": kind, "file": path, "line": number}`; `when` is in the
form that `hooks.select` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

Entry = dict[str, Any]
Injected = dict[str, Any]

# The value in a JSON or YAML file, and its text. Raises OSError, ValueError.
Read = Callable[[str], tuple[Any, str]]

PRECREATE = "precreate"


class CdiSettings(TypedDict):
    """Where CDI specs are, later directories before earlier ones, and what asks for devices.

    `environment` is a variable of a container that names CDI devices, separated by commas; "" for none.
    """

    directories: list[str]
    environment: str


class Devices(CdiSettings):
    """The same for a call; `libraries` is the directory in which ruamel.yaml lies."""

    libraries: str


class Compiled(TypedDict, total=False):
    """The snapshot's part `hooks`."""

    entries: list[Entry]
    cdi: Devices


def add(config: dict[str, Any], entries: Iterable[Entry]) -> tuple[dict[str, Any], list[Injected]]:
    """The config with the entries' hooks at the end of their stages; one that is there already is not added again."""
    present = config.get("hooks") or {}
    if not isinstance(present, dict) or not all(isinstance(hooks or [], list) for hooks in present.values()):
        return config, []  # not a config; the runtime says so in its own words
    hooks = {stage: list(found or ()) for stage, found in present.items()}
    injected: list[Injected] = []
    for entry in entries:
        hook = entry["hook"]
        for stage in entry["stages"]:
            if stage != PRECREATE and hook not in hooks.get(stage, ()):
                hooks.setdefault(stage, []).append(hook)
                injected.append({"stage": stage, "path": hook["path"], **origin(entry)})
    return ({**config, "hooks": hooks}, injected) if injected else (config, injected)


def origin(entry: Entry) -> dict[str, Any]:
    """Where an entry comes from, for the record."""
    return {name: entry[name] for name in ("source", "file", "line")}
