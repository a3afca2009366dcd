"""oci-add-hooks' file: the `hooks` object of a config.json, given to every container.

Source: awslabs/oci-add-hooks, README.md.
"""

from __future__ import annotations

from typing import Any

from hookrun.hooks import inject, lines
from hookrun.hooks.entries import STAGES, checked_hook
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import Entry, Injected, Read


def injected(config: dict[str, Any], path: str, read: Read) -> tuple[dict[str, Any], list[Injected]]:
    """The config with the hooks of a file, and what was added. Raises HookError, which names file and line."""
    return inject.add(config, read_entries(path, read))


def read_entries(path: str, read: Read) -> list[Entry]:
    """The hooks in a file. Raises HookError, which names file and line."""
    try:
        value, text = read(path)
    except OSError as error:
        raise HookError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise HookError(f"{path}: {error}") from None
    return parsed(value, text, path)


def parsed(value: Any, text: str, path: str) -> list[Entry]:
    """The entries in a file's value, in its order. Raises HookError, which names file and line."""
    stages = value.get("hooks") if isinstance(value, dict) else None
    if not isinstance(stages, dict):
        raise HookError(f"{path}:1: missing object `hooks`")
    entries: list[Entry] = []
    for stage, hooks in stages.items():
        if stage not in STAGES or not isinstance(hooks, list):
            problem = "must be a list of hooks" if stage in STAGES else "is not a stage of the runtime-spec"
            raise HookError(f"{path}:{lines.of_key(text, stage)}: {stage} {problem}")
        for hook in hooks:
            line = lines.of_key(text, "path", len(entries))
            try:
                checked = checked_hook(hook)
            except HookError as problem:
                raise HookError(f"{path}:{line}: {stage}: {problem}") from None
            origin = {"source": "oci-add-hooks", "file": path, "line": line}
            entries.append({"stages": [stage], "hook": checked, "when": None, **origin})
    return entries
