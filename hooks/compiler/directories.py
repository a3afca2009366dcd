"""Hook directories as Podman and CRI-O read them: oci-hooks(5), schemas 1.0.0 and 0.1.0.

Sources: containers/common pkg/hooks (read.go, hooks.go, 1.0.0/hook.go, 0.1.0/hook.go), docs/oci-hooks.5.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hookrun.hooks import lines
from hookrun.hooks.compiler import patterns
from hookrun.hooks.entries import STAGES, checked_hook
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import PRECREATE, Entry

_CONDITIONS = {"always": bool, "hasBindMounts": bool, "annotations": dict, "commands": list}
# Leads to a file of the fleet's bundle that a hook file is part of.
_IN_BUNDLE = "${bundle}/"
# Why users other than root could change what lies at a path, "" if they can't: who can write a hook owns the host.
# Raises OSError. That is a matter of the host: whoever compiles hooks says it (wrapper/ownership.py).
Untrusted = Callable[[str], str]
_SYNONYMS = {"stage": "stages", "cmd": "cmds", "annotation": "annotations"}


def read(directories: list[Path], untrusted: Untrusted) -> tuple[list[Entry], list[str]]:
    """The hooks of all directories in the order in which they apply, and what is wrong, a line each.

    A file in a later directory masks one of the same name in an earlier one. A directory that is not there is empty.
    """
    files: dict[str, Path] = {}
    problems: list[str] = []
    for directory in directories:
        try:
            problems += [f"{directory}: {problem}" for problem in filter(None, [untrusted(str(directory))])]
            files |= {path.name: path for path in directory.iterdir() if path.name.endswith(".json")}
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{directory}: {error.strerror}")
    entries: list[Entry] = []
    for name in sorted(files, key=lambda name: (name.lower(), name)):
        try:
            entries.append(_entry(files[name], untrusted))
        except HookError as problem:
            problems.append(str(problem))
    return entries, problems


def _entry(path: Path, untrusted: Untrusted) -> Entry:
    """The hook in a file. Raises HookError, which names file and line."""
    value, text = read_json(path, untrusted)
    line = lines.of_key(text, "hook") or 1
    try:
        entry = parsed(_placed(value, path))
        check_program(entry, untrusted)
    except HookError as problem:
        raise HookError(f"{path}:{line}: {problem}") from None
    return {**entry, "source": "hooks.d", "file": str(path), "line": line}


def _placed(value: Any, file: Path) -> Any:
    """A hook file's value with the absolute path of its program, where it names one of its bundle. Raises HookError.

    A bundle is the directory above the file's, and has a bundle.yaml.
    """
    hook = value.get("hook") if isinstance(value, dict) else None
    if not isinstance(hook, dict) or not str(hook.get("path")).startswith(_IN_BUNDLE):
        return value
    manifest = file.absolute().parent.parent / "bundle.yaml"
    if not manifest.is_file():
        raise HookError(f"there is no {manifest}: ${{bundle}} is for hook files of a fleet's bundle")
    below = str(hook["path"]).removeprefix(_IN_BUNDLE)
    if not all(part.strip(".") for part in below.split("/")):
        raise HookError(f"path must name a file of the bundle: {hook['path']!r}")
    return {**value, "hook": {**hook, "path": str(manifest.parent / below)}}


def parsed(value: Any) -> Entry:
    """A hook file's value as an entry that does not know yet where it comes from. Raises HookError."""
    if not isinstance(value, dict):
        raise HookError("not an object")
    version = value.get("version", "")
    if version not in ("1.0.0", "0.1.0", ""):
        raise HookError(f"unrecognized hook version: {version!r}")
    return _current(value) if version == "1.0.0" else _old(value)


def read_json(path: Path, untrusted: Untrusted) -> tuple[Any, str]:
    """A trusted file's value and text. Raises HookError."""
    try:
        problem = untrusted(str(path))
        if problem:
            raise HookError(f"{path}: {problem}")
        text = path.read_text(encoding="utf-8")
        return json.loads(text), text
    except json.JSONDecodeError as error:
        raise HookError(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise HookError(f"{path}: not UTF-8") from None
    except (ValueError, RecursionError):
        raise HookError(f"{path}: nested too deeply, or a number of too many digits") from None
    except OSError as error:
        raise HookError(f"{path}: {error.strerror}") from None


def check_program(entry: Entry, untrusted: Untrusted) -> None:
    """Refuse a program that is missing or that others can write. Raises HookError.

    startContainer hooks lie in the container.
    """
    if set(entry["stages"]) == {"startContainer"}:
        return
    path = entry["hook"]["path"]
    try:
        problem = untrusted(path)
    except OSError as error:
        raise HookError(f"{path}: {error.strerror}") from None
    if problem:
        raise HookError(f"{path}: {problem}")


def _current(value: dict[str, Any]) -> Entry:
    if "hook" not in value:
        raise HookError("missing required property: hook")
    conditions = value.get("when")
    if not isinstance(conditions, dict) or not conditions:
        raise HookError("`when` must name at least one condition")
    for name, condition in conditions.items():
        if name not in _CONDITIONS:
            raise HookError(f"when: unknown condition {name!r}: use one of {', '.join(_CONDITIONS)}")
        if not isinstance(condition, _CONDITIONS[name]):
            raise HookError(f"when: {name} has the wrong type")
    return {
        "stages": _stages(value.get("stages")),
        "hook": checked_hook(value["hook"]),
        "when": {
            "always": conditions.get("always"),
            "hasBindMounts": conditions.get("hasBindMounts"),
            "annotations": [(_pattern(key), _pattern(text)) for key, text in conditions.get("annotations", {}).items()],
            "commands": [_pattern(command) for command in conditions.get("commands", ())],
            "or": False,
        },
    }


def _old(value: dict[str, Any]) -> Entry:
    """Schema 0.1.0: every condition alone is enough."""
    for short, long in _SYNONYMS.items():
        if short in value and long in value:
            raise HookError(f"cannot set both {short!r} and {long!r}")
    full = {_SYNONYMS.get(name, name): part for name, part in value.items()}
    if isinstance(full.get("hook"), dict):
        raise HookError('hook: in the old format it is the path of a program: add "version": "1.0.0" for an object')
    if not isinstance(full.get("hook"), str):
        raise HookError("missing required property: hook")
    hook = {"path": full["hook"]}
    if full.get("arguments") is not None:
        hook["args"] = [full["hook"], *_strings(full, "arguments")]
    annotations = _strings(full, "annotations")
    return {
        "stages": _stages(full.get("stages")),
        "hook": checked_hook(hook),
        "when": {
            "always": None,
            "hasBindMounts": full.get("hasbindmounts"),
            "annotations": [(_pattern(".*"), _pattern("|".join(annotations)))] if annotations else [],
            "commands": [_pattern(command) for command in _strings(full, "cmds")],
            "or": True,
        },
    }


def _stages(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise HookError("missing required property: stages")
    for stage in value:
        if stage not in (*STAGES, PRECREATE):
            raise HookError(f"unknown stage {stage!r}")
    return list(dict.fromkeys(value))


def _strings(value: dict[str, Any], name: str) -> list[str]:
    found = value.get(name) or []
    if not isinstance(found, list) or not all(isinstance(element, str) for element in found):
        raise HookError(f"{name} must be a list of strings")
    return found


def _pattern(text: Any) -> tuple[Any, ...]:
    if not isinstance(text, str):
        raise HookError("a regular expression must be a string")
    return patterns.compiled(text)
