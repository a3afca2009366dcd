"""What a hook of the runtime-spec must look like (config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

from typing import Any

from hookrun.hooks.errors import HookError

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_FIELDS = {"path": str, "args": list, "env": list, "timeout": int}


def checked_hook(hook: Any) -> dict[str, Any]:
    """The hook without its empty fields. Raises HookError, which says what is wrong with it."""
    if not isinstance(hook, dict):
        raise HookError("a hook must be an object")
    for name, value in hook.items():
        kind = _FIELDS.get(name)
        if kind is None:
            raise HookError(f"a hook has no field {name!r}")
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise HookError(f"{name} must be {_words(kind)}")
        if isinstance(value, list) and not all(isinstance(element, str) and "\0" not in element for element in value):
            raise HookError(f"{name} must be a list of strings")
    _check_path(hook.get("path"))
    for pair in hook.get("env") or ():
        if pair.find("=") <= 0:
            raise HookError(f"env: {pair!r} is not NAME=VALUE")
    if hook.get("timeout") is not None and hook["timeout"] <= 0:
        raise HookError("timeout must be greater than zero")
    return {name: value for name, value in hook.items() if value not in (None, [])}


def _check_path(path: Any) -> None:
    if not path:
        raise HookError("path is missing")
    if not path.startswith("/") or "\0" in path:
        raise HookError(f"path must be absolute: {path!r}")


def _words(kind: type) -> str:
    return {str: "a string", list: "a list of strings", int: "a whole number of seconds"}[kind]
