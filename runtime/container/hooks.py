"""Running the hooks of a stage (config.md "POSIX-platform Hooks", runtime.md "Lifecycle"; runc: configs.RunHooks)."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import pids
from hookrun.runtime.spec.hooks import of_stage

Report = Callable[[dict[str, Any]], None]

# What a hook says is kept up to here, for the error and the record; the rest is read and dropped.
_KEPT_BYTES = 16384
_LONGEST_POLL = 0x7FFFFFFF  # milliseconds


def run_stage(
    config: Mapping[str, Any],
    stage: str,
    state: dict[str, Any],
    report: Report,
    default_env: list[str] | None = None,
) -> None:
    """Run a stage's hooks one after the other with the state on their standard input.

    `report` gets {stage, index, path, ms, status, stderr} for each. Raises Failure at the first that fails, in
    runc's words.
    """
    hooks = of_stage(config, stage)
    if not hooks:
        return
    data = jsonio.dumps(state).encode()
    for index, hook in enumerate(hooks):

        def note(result: dict[str, Any], at: int = index) -> None:
            report({"stage": stage, "index": at, **result})

        problem = run_one(hook, data, note, default_env)
        if problem:
            raise Failure(f"error running {stage} hook #{index}: {problem}")


def run_one(hook: Mapping[str, Any], state: bytes, report: Report, default_env: list[str] | None = None) -> str:
    """Run one hook to its end or its timeout (seconds); returns what went wrong, "" where nothing did."""
    started = time.monotonic()
    run = _Run(hook, default_env)
    problem = run.start(state) or run.finish(hook.get("timeout"))
    report(
        {
            "path": hook["path"],
            "ms": round((time.monotonic() - started) * 1000, 3),
            "status": run.status,
            "stderr": run.stderr.decode("utf-8", "replace"),
        }
    )
    return problem


class _Run:
    """A hook's process and what it says."""

    __slots__ = ("_args", "_env", "_outputs", "_path", "_pid", "_pidfd", "status", "stderr", "stdout")

    def __init__(self, hook: Mapping[str, Any], default_env: list[str] | None) -> None:
        self._path: str = hook["path"]
        self._args: list[str] = hook.get("args") or [self._path]
        self._env = _environment(hook.get("env") or default_env)
        self._outputs: dict[int, bool] = {}
        self._pid = 0
        self._pidfd = -1
        self.status: int | None = None
        self.stdout = b""
        self.stderr = b""

    def start(self, state: bytes) -> str:
        """Start it; returns why it can't be."""
        # A memory file, not a pipe: a hook that reads nothing, or late, can't block or break the writer.
        stdin = os.memfd_create("state", os.MFD_CLOEXEC)
        out_reader, out_writer = os.pipe2(os.O_CLOEXEC)
        err_reader, err_writer = os.pipe2(os.O_CLOEXEC)
        self._outputs = {out_reader: False, err_reader: True}
        try:
            os.write(stdin, state)
            os.lseek(stdin, 0, os.SEEK_SET)
            self._pid = os.posix_spawn(
                self._path,
                self._args,
                self._env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, stdin, 0),
                    (os.POSIX_SPAWN_DUP2, out_writer, 1),
                    (os.POSIX_SPAWN_DUP2, err_writer, 2),
                ],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            self._close_outputs()
            return f"fork/exec {self._path}: {reason(error)}"
        except ValueError:  # of Python's: execve(2) itself would take it
            self._close_outputs()
            return f"fork/exec {self._path}: its first argument is empty"
        finally:
            os.close(stdin)
            os.close(out_writer)
            os.close(err_writer)
        self._pidfd = pids.open_pidfd(self._pid)
        return ""

    def finish(self, timeout: int | None) -> str:
        """Wait for its end; a daemon that it leaves behind with its output open is not waited for."""
        deadline = time.monotonic() + timeout if timeout else None
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)
            poll.register(descriptor, select.POLLIN)
        try:
            return self._wait(poll, deadline, timeout)
        finally:
            os.close(self._pidfd)
            self._close_outputs()

    def _wait(self, poll: Any, deadline: float | None, timeout: int | None) -> str:
        while True:
            left = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
            ready = [descriptor for descriptor, _ in poll.poll(left if left is None else min(left, _LONGEST_POLL))]
            for descriptor in ready:
                if descriptor != self._pidfd and not self._read(descriptor):
                    poll.unregister(descriptor)
            if self._pidfd in ready:
                return self._ended()
            if not ready and (left is None or left <= _LONGEST_POLL):
                pids.send_signal(self._pidfd, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                return f"hook ran past specified timeout of {float(timeout or 0):.1f}s"

    def _ended(self) -> str:
        for descriptor in self._outputs:
            # Bounded, for a daemon may go on writing.
            for _ in range(16):
                if not self._read(descriptor):
                    break
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self.status = code if code >= 0 else 128 - code
        if code == 0:
            return ""
        how = f"exit status {code}" if code > 0 else f"signal: {_signal_name(-code)}"
        said = [stream.decode("utf-8", "replace") for stream in (self.stdout, self.stderr)]
        return f"{how}, stdout: {said[0]}, stderr: {said[1]}"

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        if self._outputs[descriptor]:
            self.stderr = (self.stderr + data)[:_KEPT_BYTES]
        else:
            self.stdout = (self.stdout + data)[:_KEPT_BYTES]
        return bool(data)

    def _close_outputs(self) -> None:
        for descriptor in self._outputs:
            os.close(descriptor)
        self._outputs = {}


def _environment(pairs: list[str] | None) -> dict[str, str] | dict[bytes, bytes]:
    """What a hook without `env` gets is its stage's default, and in the runtime's stages the runtime's own."""
    if pairs is None:
        return dict(os.environb)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name}


def _signal_name(number: int) -> str:
    return (signal.strsignal(number) or str(number)).lower()
