"""Hooks for the snapshot: read, checked and compiled by `hookctl apply`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import ruamel.yaml

from hookrun.hooks import addhooks
from hookrun.hooks.compiler import directories
from hookrun.hooks.compiler.directories import Untrusted
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import CdiSettings, Compiled, Devices, Entry


class Settings(TypedDict):
    """The settings' part `hooks`. Relative paths are below the configuration's directory."""

    directories: list[str]
    """Of oci-hooks(5); later ones mask earlier ones. Podman's own only if listed here."""
    addHooks: list[str]
    """Files of oci-add-hooks."""
    cdi: CdiSettings


DEFAULTS: Settings = {
    "directories": ["hooks.d"],
    "addHooks": [],
    "cdi": {"directories": ["/etc/cdi", "/var/run/cdi"], "environment": ""},
}


def compiled(settings: Settings, config: Path, untrusted: Untrusted) -> tuple[Compiled, list[str]]:
    """The snapshot's part `hooks` from the settings' part `hooks`, and what is wrong: `FILE:LINE: what`, a line each.

    `config` is the configuration's directory, `untrusted` says of a path why it cannot be trusted. What comes back is
    made of dicts, lists, tuples, strings and numbers.
    """
    entries, problems = _added_everywhere([config / path for path in settings["addHooks"]], untrusted)
    found, wrong = directories.read([config / path for path in settings["directories"]], untrusted)
    cdi = settings["cdi"]
    paths = [str(config / path) for path in cdi["directories"]]
    devices: Devices = {"directories": paths, "environment": cdi["environment"], "libraries": _libraries()}
    return (
        {"entries": entries + found, "cdi": devices},
        problems + wrong + list(filter(None, (_directory_problem(path, untrusted) for path in paths))),
    )


def _libraries() -> str:
    """Where ruamel.yaml lies, for the isolated interpreter of the hot path to find it when a CDI spec is YAML."""
    return str(Path(ruamel.yaml.__file__).parents[2])


def _directory_problem(path: str, untrusted: Untrusted) -> str:
    try:
        problem = untrusted(path) if os.path.exists(path) else ""
    except OSError as error:
        problem = str(error.strerror)
    return f"{path}: {problem}" if problem else ""


def _added_everywhere(paths: list[Path], untrusted: Untrusted) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    problems: list[str] = []
    for path in paths:
        try:
            value, text = directories.read_json(path, untrusted)
            found = addhooks.parsed(value, text, str(path))
        except HookError as problem:
            problems.append(str(problem))
            continue
        for entry in found:
            try:
                directories.check_program(entry, untrusted)
            except HookError as problem:
                problems.append(f"{path}:{entry['line']}: {problem}")
            entries.append(entry)
    return entries, problems
