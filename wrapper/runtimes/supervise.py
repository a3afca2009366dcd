"""Another runtime as a child that is waited for, so that the record has its exit status: a debugging session's mode.

The child has the same stdio and descriptors; signals that somebody sends to this process are sent on to it. It ends
when this process is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Set
from typing import NoReturn

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.wrapper.cli.argv import Call
from hookrun.wrapper.runtimes import delegate

_PR_SET_PDEATHSIG = 1
# Faults of this process itself, and job control, which the terminal does to both.
_OWN = frozenset(
    (
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGPIPE,
    )
)


def run(runtime: str, command_line: Call) -> int:
    """Run the runtime to its end; returns its exit status, 128+n where a signal ended it.

    Raises Failure if it can't be executed.
    """
    signals = signal.valid_signals() - _OWN
    ignores_children = signal.signal(signal.SIGCHLD, signal.SIG_DFL) is signal.SIG_IGN
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    child = os.fork()
    if not child:
        if ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _become(runtime, command_line, parent, writer)
    os.close(writer)
    problem = _read(reader)  # ends with the child's execve, or with what it could not do
    status = _wait(child, signals)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if problem:
        raise Failure(problem)
    return status


def _become(runtime: str, command_line: Call, parent: int, writer: int) -> NoReturn:
    try:
        call(NR.prctl, _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)
        delegate.run(runtime, command_line)
    except Failure as failure:
        os.write(writer, failure.text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        os.write(writer, f"cannot start {runtime}: {reason(error)}".encode())
    os._exit(1)


def _read(reader: int) -> str:
    text = b""
    while data := os.read(reader, 4096):
        text += data
    os.close(reader)
    return text.decode("utf-8", "surrogateescape")


def _wait(child: int, signals: Set[int]) -> int:
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        found = signal.sigwaitinfo(signals)
        # A positive code is the kernel's: ^C at a terminal reaches the child by itself.
        if found.si_signo != signal.SIGCHLD and found.si_code <= 0:
            os.kill(child, found.si_signo)
