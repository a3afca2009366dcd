"""The stages of devices and hooks: what the hooks package decides, on this host's files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from hookrun.hooks import addhooks, cdi, select
from hookrun.hooks.errors import HookError
from hookrun.hooks.inject import Compiled, Injected, Read
from hookrun.policies.decide import Outcome
from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files
from hookrun.runtime.spec import config as configs
from hookrun.runtime.spec import shape
from hookrun.wrapper import ownership
from hookrun.wrapper.decision.invocation import Config, Invocation

Result = TypeVar("Result")


def devices(config: Config, invocation: Invocation) -> Outcome:
    """CDI devices, where the config asks for any."""
    settings = compiled(invocation).get("cdi")
    if settings is None:
        return Outcome(config)
    return _hooked(config, cdi.injected, settings, _read(invocation))


def hooks_of_command_line(config: Config, invocation: Invocation) -> Outcome:
    """Those in oci-add-hooks' file, which --hook-config-path names."""
    path = invocation.call.globals["hook-config-path"]
    if not path:
        return Outcome(config)
    return _hooked(config, addhooks.injected, path, _read(invocation))


def hooks_of_host(config: Config, invocation: Invocation) -> Outcome:
    """Those that the snapshot has, as far as their conditions hold."""
    entries = compiled(invocation).get("entries")
    if not entries:
        return Outcome(config)
    return _hooked(config, select.injected, entries)


def _hooked(config: Config, inject: Callable[..., tuple[Config, list[Injected]]], *arguments: Any) -> Outcome:
    changed, injected = guarded(config, inject, *arguments)
    return Outcome(changed, hooks=injected)


def compiled(invocation: Invocation) -> Compiled:
    """The snapshot's part on hooks."""
    return invocation.content.get("hooks") or {}


def guarded(config: Config, function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function of the hooks package makes of a config. Raises Failure.

    A config with wrong types is refused in the runtime's own words; with right ones, the fault is ours.
    """
    try:
        return function(config, *arguments)
    except HookError as error:
        raise Failure(f"hooks: {error}") from None
    except (AttributeError, TypeError):
        shape.check(config, shape.CONFIG, configs.FILE_NAME)
        raise


def _read(invocation: Invocation) -> Read:
    devices = compiled(invocation).get("cdi")
    return Files(devices["libraries"] if devices else "").read


class Files:
    """Reading JSON and YAML files that were not there, or were others, when the snapshot was made.

    `libraries` is the directory in which ruamel.yaml lies.
    """

    __slots__ = ("_libraries",)

    def __init__(self, libraries: str = "") -> None:
        self._libraries = libraries

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
