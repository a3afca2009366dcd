"""Hooks for a call: what the hooks package decides, on this host's files."""

from __future__ import annotations

import sys
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files
from hookrun.wrapper import ownership


def hooked(
    compiled: dict[str, Any] | None, config: dict[str, Any], bundle: str, hook_config_path: str = ""
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The config with its hooks, and through the precreate filters; what was injected, for the record.

    `compiled` is the snapshot's part `hooks`, `bundle` the bundle's directory. `config` is not changed in place; it
    comes back itself where nothing is added. Raises Failure.
    """
    if not _is_needed(compiled or {}, config, hook_config_path):
        return config, []
    from hookrun.hooks import inject
    from hookrun.hooks.errors import HookError

    compiled = compiled or {}
    try:
        chosen = inject.filters(compiled, config)
        invocation = {"hook-config-path": hook_config_path}
        config, injected = inject.inject(compiled, config, invocation, Files(compiled).read)
    except HookError as error:
        raise Failure(f"hooks: {error}") from None
    except (AttributeError, TypeError):
        # A config with wrong types is refused in the runtime's own words; with right ones, the fault is ours.
        from hookrun.runtime.spec import config as configs
        from hookrun.runtime.spec import shape

        shape.check(config, shape.CONFIG, configs.FILE_NAME)
        raise
    if chosen:
        from hookrun.wrapper import filters

        config, ran = filters.run(chosen, config, bundle)
        injected += ran
    return config, injected


def _is_needed(compiled: dict[str, Any], config: dict[str, Any], hook_config_path: str) -> bool:
    """Whether there may be anything to do; most containers pay for no import."""
    if hook_config_path or compiled.get("entries"):
        return True
    return "cdi" in compiled and bool(compiled["cdi"]["environment"] or config.get("annotations"))


class Files:
    """Reading JSON and YAML files that were not there, or were others, when the snapshot was made."""

    __slots__ = ("_libraries",)

    def __init__(self, compiled: dict[str, Any]) -> None:
        self._libraries: str = compiled["cdi"]["libraries"] if "cdi" in compiled else ""

    def read(self, path: str) -> tuple[Any, str]:
        """The value and the text of a file that nobody but root and this user can write. Raises OSError, ValueError."""
        problem = ownership.problem(path)
        if problem:
            raise ValueError(problem)
        text = files.read_bytes(path).decode("utf-8")
        return (self._yaml(text) if path.endswith(".yaml") else jsonio.loads(text)), text

    def _yaml(self, text: str) -> Any:
        """ruamel.yaml is dear, 20 ms and as much again for 350 lines (JSON: 1 ms).

        Paid only by containers that ask for a device on a host whose CDI specs are YAML. They are not compiled into
        the snapshot: drivers write them anew at each boot.
        """
        if self._libraries not in sys.path:
            sys.path.append(self._libraries)
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            reader = YAML(typ="safe", pure=True)
            reader.version = (1, 1)  # as Go's libraries read it: `0660` is octal, `yes` is true
            return reader.load(text)
        except YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None
