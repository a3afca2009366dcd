"""Staying with a container's process: passing signals and the terminal on, and coming home with its exit status.

For `run` and `exec` without --detach (runc: signals.go, tty.go). Without a terminal the process has the caller's own
streams; nothing is copied.
"""

from __future__ import annotations

import _signal  # `signal` makes an enum of each answer: half a millisecond for all signals
import os
import select
import signal

from hookrun.runtime.linux import pids
from hookrun.runtime.process import terminal

_KEPT = frozenset(map(int, (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD)))
_NOT_PASSED_ON = frozenset((signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGWINCH))
_CHUNK = 32768


class Foreground:
    """The watch over one process."""

    __slots__ = ("_master", "_pid", "_pidfd", "_saved", "_stdin", "_wakeup")

    def __init__(self) -> None:
        """Take over this process's signals; to be made before the container's process is let go."""
        self._pid = 0
        self._pidfd = -1
        self._master: int | None = None
        self._stdin: int | None = None
        self._saved: bytes | None = None
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = reader
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in range(1, signal.NSIG):
            if number not in _KEPT:
                try:
                    _signal.signal(number, _ignore)
                except OSError:  # the C library keeps some for itself
                    continue

    def watch(self, pid: int, pidfd: int, pty_line: int | None) -> int:
        """Stay until the process ends; returns its exit status, 128+n for signal n. Raises Failure."""
        self._pid, self._pidfd = pid, pidfd
        if pty_line is not None:
            self._take_terminal(pty_line)
        try:
            self._loop()
        finally:
            self._give_terminal_back()
        return self._status()

    def _take_terminal(self, pty_line: int) -> None:
        self._master = terminal.receive(pty_line)
        os.close(pty_line)
        self._stdin = 0
        terminal.copy_size(0, self._master)
        self._saved = terminal.set_raw(0)

    def _give_terminal_back(self) -> None:
        if self._master is not None:
            self._drain()
        if self._saved is not None:
            terminal.restore(0, self._saved)

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        if self._master is not None:
            poll.register(self._master, select.POLLIN)
            poll.register(0, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup in ready:
                self._pass_signals_on()
            if self._master is not None and self._master in ready and not self._copy_out():
                poll.unregister(self._master)
            if 0 in ready and self._stdin is not None and not self._copy_in():
                poll.unregister(0)
            if self._pidfd in ready:
                return

    def _pass_signals_on(self) -> None:
        for number in os.read(self._wakeup, 512):
            if number == signal.SIGWINCH and self._master is not None:
                terminal.copy_size(0, self._master)
            elif number not in _NOT_PASSED_ON:
                try:
                    pids.send_signal(self._pidfd, number)
                except ProcessLookupError:
                    return

    def _copy_out(self) -> bool:
        """From the terminal to our standard output; False at its end (EIO: the last peer is closed)."""
        try:
            data = os.read(self._master or 0, _CHUNK)
        except OSError:
            return False
        return bool(data) and _write_all(1, data)

    def _copy_in(self) -> bool:
        """From our standard input to the terminal; False at its end."""
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            return False
        return bool(data) and _write_all(self._master or 0, data)

    def _drain(self) -> None:
        """What the process wrote last is still in the terminal when it has ended."""
        os.set_blocking(self._master or 0, False)
        while self._copy_out():
            pass

    def _status(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return code if code >= 0 else 128 - code


def _ignore(number: int, frame: object) -> None:
    """Signals are read from the wakeup descriptor."""


def _write_all(descriptor: int, data: bytes) -> bool:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        return False
    return True
