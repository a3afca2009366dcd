"""Precreate filters: programs that read the config on their standard input and write the new one to their output.

Source: containers/common pkg/hooks/exec (runtimeconfigfilter.go, exec.go), Podman's extension stage of oci-hooks(5).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from hookrun.hooks import inject, select
from hookrun.policies.decide import Outcome
from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import pids
from hookrun.wrapper.decision import injection
from hookrun.wrapper.decision.invocation import Config, Invocation

# For a filter that names no timeout, in seconds: a container engine waits for a create, but not for ever.
TIMEOUT = 30
_LARGEST_OUTPUT = 64 * 1024 * 1024
_KEPT_STDERR = 4096


def filtered(config: Config, invocation: Invocation) -> Outcome:
    """The stage of the filters that are for the config, as it has become by now. Raises Failure."""
    entries = injection.compiled(invocation).get("entries")
    chosen = injection.guarded(config, select.filters, entries) if entries else ()
    if not chosen:
        return Outcome(config)
    changed, ran = run(chosen, config, invocation.directory)
    return Outcome(changed, hooks=ran)


def run(
    entries: Iterable[dict[str, Any]], config: dict[str, Any], bundle: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Send the config through each filter, in the directory `bundle`; returns the last one's, and a report of each.

    Raises Failure, with the filter's name, at the first that fails, takes too long or writes no JSON object.
    """
    ran = []
    for entry in entries:
        started = time.monotonic()
        config = _filtered(entry, config, bundle)
        ran.append(
            {
                "stage": inject.PRECREATE,
                "path": entry["hook"]["path"],
                **inject.origin(entry),
                "ms": round((time.monotonic() - started) * 1000, 3),
            }
        )
    return config, ran


def _filtered(entry: dict[str, Any], config: dict[str, Any], bundle: str) -> dict[str, Any]:
    hook = entry["hook"]
    name = f"precreate filter {hook['path']} ({entry['file']}:{entry['line']})"
    try:
        output = _output(hook, jsonio.dumps(config).encode(), bundle)
    except _Failed as problem:
        raise Failure(f"{name}: {problem}") from None
    except OSError as error:
        raise Failure(f"{name}: {reason(error)}") from None
    try:
        found, is_read_alike = jsonio.decoded(output)
    except ValueError as error:
        raise Failure(f"{name}: its output is not a config: {error}") from None
    if not is_read_alike:  # json.Unmarshal, by which Podman reads it, takes one value and no text after it
        raise Failure(f"{name}: its output is not a config: more than one value, or not UTF-8")
    if not isinstance(found, dict):
        raise Failure(f"{name}: its output is not a config: not a JSON object")
    return found


class _Failed(Exception):
    """Why a filter's output is not to be used."""


def _output(hook: dict[str, Any], data: bytes, bundle: str) -> bytes:
    """What the filter wrote. Raises _Failed, OSError.

    Memory files, not pipes: a filter that reads late or never, or leaves a daemon behind, can't block anybody.
    """
    streams = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("config", "output", "errors")]
    try:
        _write(streams[0], data)
        failed = _run(hook, streams, bundle)
        if failed:
            said = " ".join(os.pread(streams[2], _KEPT_STDERR, 0).decode("utf-8", "replace").split())
            raise _Failed(f"{failed}: {said}" if said else failed)
        size = os.fstat(streams[1]).st_size
        if size > _LARGEST_OUTPUT:
            raise _Failed(f"it wrote {size} bytes, more than {_LARGEST_OUTPUT}")
        return os.pread(streams[1], size, 0)
    finally:
        for descriptor in streams:
            os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.lseek(descriptor, 0, os.SEEK_SET)


def _run(hook: dict[str, Any], streams: list[int], bundle: str) -> str:
    """Run it to its end or its timeout, in a process group of its own; returns what went wrong."""
    pid = _spawn(hook, streams, bundle)
    descriptor = pids.open_pidfd(pid)
    try:
        timeout = hook.get("timeout") or TIMEOUT
        if not pids.wait_for_end(descriptor, timeout):
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return f"it ran past its timeout of {timeout} s"
    finally:
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        return f"exit status {code}" if code > 0 else f"signal {-code}"
    return ""


def _spawn(hook: dict[str, Any], streams: list[int], bundle: str) -> int:
    """posix_spawn knows no directory to start in, so this process stands there for the moment."""
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(bundle or ".")
        return os.posix_spawn(
            hook["path"],
            hook.get("args") or [hook["path"]],
            {name: value for name, _, value in (pair.partition("=") for pair in hook.get("env") or ())},
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(streams)],
            setpgroup=0,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    finally:
        os.fchdir(here)
        os.close(here)
