"""Giving a container its hooks.

An *entry* is a hook with where it belongs and where it comes from:
`{"stages": [...], "hook": {...}, "when": {...} | None, "source": kind, "file": path, "line": number}`; `when` is in the
form that `hooks.select` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Entry = dict[str, Any]
Injected = dict[str, Any]

# The value in a JSON or YAML file, and its text. Raises OSError, ValueError.
Read = Callable[[str], tuple[Any, str]]

PRECREATE = "precreate"


def inject(
    compiled: dict[str, Any], config: dict[str, Any], invocation: dict[str, Any], read: Read
) -> tuple[dict[str, Any], list[Injected]]:
    """The config with the hooks of all sources; for each injected hook its stage, path, source, file and line.

    In this order: CDI devices, oci-add-hooks' file on the command line (`invocation["hook-config-path"]`), then the
    compiled entries. `config` is not changed in place; it comes back itself where nothing is added. Raises HookError.
    """
    injected: list[Injected] = []
    if "cdi" in compiled:
        config, injected = _with_devices(compiled["cdi"], config, read)
    given: list[Entry] = []
    if invocation.get("hook-config-path"):
        from hookrun.hooks import addhooks

        given = addhooks.read_entries(invocation["hook-config-path"], read)
    config, added = add(config, given + _matching(compiled.get("entries", ()), config))
    return config, injected + added


def filters(compiled: dict[str, Any], config: dict[str, Any]) -> list[Entry]:
    """The precreate filters for this config, in the order in which they run."""
    return [entry for entry in _matching(compiled.get("entries", ()), config) if PRECREATE in entry["stages"]]


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


def _matching(entries: Iterable[Entry], config: dict[str, Any]) -> list[Entry]:
    found = []
    for entry in entries:
        if entry["when"] is not None:
            from hookrun.hooks import select

            if not select.matches(entry, config):
                continue
        found.append(entry)
    return found


def _with_devices(
    settings: dict[str, Any], config: dict[str, Any], read: Read
) -> tuple[dict[str, Any], list[Injected]]:
    """CDI devices, where the config asks for any: by an annotation or by the environment variable in the settings."""
    annotations = config.get("annotations")
    asks = isinstance(annotations, dict) and any(name.startswith("cdi.k8s.io/") for name in annotations)
    if not asks and not settings["environment"]:
        return config, []
    from hookrun.hooks import cdi

    devices = cdi.requested(config, settings["environment"])
    if not devices:
        return config, []
    return add(*cdi.with_devices(config, devices, settings["directories"], read))
