"""The record: one JSON line for each invocation, appended with one write(2).

In the record's directory lie `record.jsonl`, the rotated `record-TIME-PID.jsonl`, and under `configs/` the configs
before their change, masked, named by the SHA-256 of what the engine wrote. Lines of several processes never mix:
O_APPEND places each write at the end. A writer that still has a rotated file open appends to that one.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Any, cast

from hookrun.policies.decide import Outcome
from hookrun.runtime import jsonio
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import imports
from hookrun.wrapper import VERSION
from hookrun.wrapper.caller import claims, engine
from hookrun.wrapper.caller.engine import Caller, Process
from hookrun.wrapper.cli import grammar
from hookrun.wrapper.cli.argv import Call
from hookrun.wrapper.digest import sha256_hex
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record import changes, kept_configs, record_space
from hookrun.wrapper.record import line as record_line
from hookrun.wrapper.record.line import ConfigChange, InjectedHook, Line, ResourcesChange, Told
from hookrun.wrapper.record.masking import Mask
from hookrun.wrapper.settings import Settings

FORMAT = 1
CURRENT = "record.jsonl"
_MAKING = ("create", "run", "restore")
_ENTERING = (*_MAKING, "exec")


class Record:
    """The line of one call, in the making."""

    __slots__ = (
        "_above",
        "_call",
        "_caller",
        "_config",
        "_found",
        "_mask",
        "_name",
        "_notice",
        "_outcome",
        "_resources",
        "_settings",
        "_start",
        "_time",
        "id",
    )

    def __init__(self, call: Call, settings: Settings, notice: str = "") -> None:
        """Note when the call began and who made it. `notice` is said once in each file of the record."""
        self._time = time.time()
        self._start = time.monotonic_ns()
        self._call = call
        self._settings = settings
        self._mask = Mask(settings)
        self._caller: Caller = engine.caller()
        self._above = self._caller.above(ask=call.command in _MAKING) if settings.record_enabled else None
        self._config: ConfigChange | None = None
        self._outcome: Outcome | None = None
        self._resources: ResourcesChange | None = None
        self._found: dict[str, Any] = {}
        self._name = ""
        self.id = os.urandom(6).hex()
        self._notice = notice

    @property
    def is_wanted(self) -> bool:
        """Whether somebody asked for a record: a host without a snapshot has one by default."""
        return not self._notice

    def pointed_to(self, error: str) -> str:
        """The error as people get to see it: with where to read more, if the settings want that."""
        is_told = self._settings.trace_hint and self._settings.record_enabled and self._call.command in _ENTERING
        return f"{error} (hookctl trace show {self.id})" if is_told else error

    @property
    def engine(self) -> str:
        """The name of the engine that called."""
        return self._caller.engine

    def confirm(self, config: dict[str, Any] | None) -> str:
        """The engine's name, once its own records bear out what a shim claims of the container with this config.

        None is a config that is not known.
        """
        if self._caller.shim:
            self._caller.engine = claims.confirmed(self._caller, self._call.container, config)
        return self._caller.engine

    def require(self) -> None:
        """Raise Failure if the settings require a record and it can't be written."""
        if not (self._settings.record_enabled and self._settings.record_required):
            return
        directory = self._settings.record_directory
        try:
            os.close(_opened(directory))
        except OSError as error:
            raise Failure(
                f"cannot write the record in {directory}, which the settings require: {reason(error)}"
            ) from None

    def decided(self, outcome: Outcome, found: dict[str, Any]) -> None:
        """Note what was decided about the call, and what was found out for that (`Invocation.found`)."""
        self._outcome = outcome
        self._found = found

    def updated(self, asked: dict[str, Any], made: dict[str, Any]) -> None:
        """Note the limits that an `update` asked for, and what policies made of them."""
        self._resources = {"asked": asked, "patch": changes.between(asked, made)}

    def changed(self, bundle: Bundle, config: dict[str, Any], written: bytes | None) -> None:
        """Note the config before and after; `written` are the new config.json's bytes, None where nothing changed."""
        if not self._settings.record_enabled:
            return
        self._name = claims.name(self._caller, self._call.container, bundle.config)
        before = self._mask.config(bundle.config)
        name = sha256_hex(bundle.original)
        self._config = {"before": name, "after": sha256_hex(written) if written else name, "patch": []}
        if written is not None:
            self._config["patch"] = changes.between(before, self._mask.config(config))
        if self._settings.record_configs:
            kept_configs.keep(self._settings.record_directory, name, before)

    def close(self, context: Context, status: int | None, error: str) -> str:
        """Append the line; `status` is None where another runtime goes on in this process.

        Returns what went wrong, "" if nothing did: a record that can't be written stops nothing.
        """
        if not self._settings.record_enabled:
            return ""
        line = jsonio.dumps(self._line(context, status, error)) + "\n"
        try:
            _append(self._settings, line.encode(), self._notice)
        except OSError as problem:
            return f"cannot write the record in {self._settings.record_directory}: {reason(problem)}"
        return ""

    def _line(self, context: Context, status: int | None, error: str) -> Line:
        call = self._call
        outcome = self._outcome
        return {
            "format": FORMAT,
            "id": self.id,
            "time": _timestamp(self._time),
            "runtime": {"name": os.path.basename(os.fsdecode(call.argv[0])), "version": VERSION},
            "profile": self._settings.profile,
            "delegate": self._settings.runtime,
            "pid": os.getpid(),
            "caller": self._callers(),
            "engine": self.engine,
            "cold": sys._xoptions.get("cold", ""),
            "argv": self._mask.words([os.fsdecode(word) for word in call.argv]),
            "command": call.command,
            "globals": _given_globals(call),
            "options": {name: self._option(call.options[name]) for name in sorted(call.given) if name in call.options},
            "arguments": self._mask.words(call.arguments),
            "container": call.container,
            "name": self._name,
            "bundle": os.path.abspath(call.options["bundle"] or ".") if "bundle" in call.options else None,
            "process": self._mask.process(context.process) if context.process else None,
            "decisions": self._mask.texts(outcome.decisions) if outcome else [],
            "resources": self._resources,
            "told": self._masked_told(),
            "hooks": self._injected(),
            "sources": self._found.get("sources", {}),
            "lands": self._found.get("lands", {}),
            "criu": context.statistics,
            "hook_results": self._mask.texts(context.hook_results),
            "harm": context.harm,
            "config": self._config,
            "phases": [(name, _milliseconds(nanoseconds)) for name, nanoseconds in context.phases],
            "milliseconds": _milliseconds(time.monotonic_ns() - self._start),
            "status": status,
            "error": self._mask.text(error) if error else "",
        }

    def _injected(self) -> list[InjectedHook]:
        hooks = self._outcome.hooks if self._outcome else []
        return cast(list[InjectedHook], [self._mask.process(hook) for hook in hooks])

    def _masked_told(self) -> Told | None:
        told = self._found.get("told")
        if told is None:
            return None
        return {"image": told["image"], "labels": self._mask.config({"annotations": told["labels"]})["annotations"]}

    def _callers(self) -> record_line.Caller:
        return {**self._process(self._caller), "above": self._process(self._above) if self._above else None}

    def _process(self, process: Process) -> record_line.Process:
        return {"pid": process.pid, "exe": process.exe, "cmdline": self._mask.words(process.cmdline)}

    def _option(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._mask.assignment(value)
        if isinstance(value, list):
            return [self._mask.assignment(entry) if isinstance(entry, str) else entry for entry in value]
        return value


def _given_globals(call: Call) -> dict[str, Any]:
    return {flag.name: call.globals[flag.name] for flag in grammar.GLOBALS if call.globals[flag.name] != flag.initial()}


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1_000_000, 3)


def _timestamp(seconds: float) -> str:
    """UTC to the microsecond, as RFC 3339 writes it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1_000_000) % 1_000_000:06d}Z"


def _write(descriptor: int, data: bytes) -> None:
    """One write(2), which a full disk may cut short. Raises OSError."""
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(directory: str) -> int:
    path = f"{directory}/{CURRENT}"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(directory, 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _append(settings: Settings, line: bytes, notice: str) -> None:
    """One write on the current file, which is rotated first if it has grown too large. Raises OSError."""
    descriptor = _opened(settings.record_directory)
    try:
        size = os.fstat(descriptor).st_size
        if size >= settings.record_max_size and _rotate(settings):
            os.close(descriptor)
            descriptor = _opened(settings.record_directory)
            size = os.fstat(descriptor).st_size
        if notice and not size:  # said once in each file
            line = jsonio.dumps({"format": FORMAT, "notice": notice}).encode() + b"\n" + line
        _write(descriptor, line)
    finally:
        os.close(descriptor)


def _rotate(settings: Settings) -> bool:
    """Who has entered a container leaves it to the next call."""
    return not imports.are_closed() and record_space.rotate(f"{settings.record_directory}/{CURRENT}", settings)
