"""One `criu swrk` process and the line to it: a socket on which requests, answers and notifications go.

Source: https://criu.org/RPC; runc: criu_linux.go criuSwrk.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.criu.messages import DecodeError, rpc
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import attributes
from hookrun.runtime.process import channel, init, spawn
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message

Notified = Callable[[str, int, int | None], None]
"""Called with a notification's name, the pid that it is about (0 if none), and a descriptor that came with it."""

FIRST_PASSED = 4
"""The number that the first of the passed descriptors has in CRIU: after the standard streams and the socket."""

_SOCKET = 3
_OUT_OF_THE_WAY = 64
_LONGEST_ANSWER = 40960
_OLDEST = 30000


class CriuFailure(Failure):
    """CRIU could not do it; its log says why."""


class Service:
    """A running CRIU, whose version is known."""

    __slots__ = ("_line", "complaint", "pid", "version")

    def __init__(
        self,
        program: str,
        streams: list[int],
        passed: list[int],
        *,
        namespaces: int = 0,
        entrance: Entrance | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Start CRIU, found in $PATH unless `program` is a path.

        It gets three standard streams and the descriptors `passed`; starts in new namespaces, by their CLONE flags, and
        in the cgroups of `entrance`; before that `prepare` runs in its process, which can import nothing. Raises
        Failure where it can't be started, or is older than 3.0.
        """
        path = _find(program)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._line = ours
        self.complaint = ""
        """What CRIU said where it failed, as its log has it."""
        way_in = entrance or Entrance()

        def main(line: channel.ChildLine) -> NoReturn:
            init.enter_cgroups(way_in, line)
            prepare()
            # CRIU passes its own dispositions on to nobody, but minds them itself.
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            _arrange([*streams, theirs.fileno(), *passed], line)
            os.execve(path, [program, "swrk", str(_SOCKET)], os.environb)
            raise AssertionError("execve returned")

        child = spawn.clone(namespaces, way_in, main)
        theirs.close()
        self.pid = child.pid
        try:
            way_in.close()
            # The line closes with execve.
            _, problem = child.line.attend({Message.CGROUPS: lambda text: way_in.admit(child.pid)})
            if problem:
                raise Failure(f"can't start CRIU: {problem}")
            self.version = self._ask_version()
        except BaseException:
            self.end()
            raise
        finally:
            child.line.close()
            os.close(child.pidfd)

    def _ask_version(self) -> int:
        """As CRIU counts: 3.17.1 is 31701; a commit between two releases counts as the next minor one."""
        found = self.carry_out(rpc.criu_req(type=rpc.VERSION, keep_open=True)).version
        version: int = found.major_number * 10000 + found.minor_number * 100 + found.sublevel
        if found.gitid:
            version -= version % 100
            version += 100
        if version < _OLDEST:
            raise Failure(f"CRIU version {version} must be {_OLDEST} or higher")
        return version

    def demand_feature(self, name: str, why: str) -> None:
        """Raise Failure where this CRIU, or the kernel, lacks a feature (rpc.proto, criu_features)."""
        request = rpc.criu_req(type=rpc.FEATURE_CHECK, keep_open=True)
        setattr(request.features, name, True)
        if not getattr(self.carry_out(request).features, name):
            raise Failure(f"criu is missing features: [{name}]: {why}")

    def carry_out(self, request: Any, notified: Notified | None = None) -> Any:
        """Send a request and answer the notifications until its answer comes, which is returned.

        Where `notified` raises, CRIU is told to give up, and has done so when the error goes on. Raises CriuFailure
        where CRIU says no or ends.
        """
        self._send(request)
        problem: BaseException | None = None
        while True:
            response, descriptor = self._receive(problem)
            if response.type != rpc.NOTIFY:
                break
            problem = problem or _told(response.notify, descriptor, notified)
            self._send(rpc.criu_req(type=rpc.NOTIFY, notify_success=problem is None))
        if problem is not None:
            raise problem
        if not response.success:
            kind = rpc.criu_req_type.Name(response.type)
            self.complaint = response.cr_errmsg
            raise CriuFailure(f"criu failed: type {kind} errno {response.cr_errno}")
        return response

    def _send(self, request: Any) -> None:
        try:
            self._line.send(request.SerializeToString())
        except ConnectionError:
            pass  # CRIU has ended, as `_receive` finds out.

    def _receive(self, problem: BaseException | None) -> tuple[Any, int | None]:
        """The next message and the descriptor that came with it. Raises `problem`, else CriuFailure, at CRIU's end."""
        try:
            data, control, _, _ = self._line.recvmsg(_LONGEST_ANSWER, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            data, control = b"", []
        if not data:
            raise problem or CriuFailure(f"criu failed: {self.end() or 'it ended early'}")
        response = rpc.criu_resp()
        try:
            response.ParseFromString(data)
        except DecodeError:
            raise problem or Failure("criu failed: its answer is not a message of its RPC") from None
        return response, int.from_bytes(control[0][2][:4], "little") if control else None

    def end(self) -> str:
        """Hang up and wait for CRIU's end; returns how it ended, "" if it did well."""
        self._line.close()
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return ""
        if code < 0:
            return f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"
        return f"exit status {code}" if code else ""


def _told(notification: Any, descriptor: int | None, notified: Notified | None) -> BaseException | None:
    """Pass a notification on; returns what that raised."""
    try:
        if notified is not None:
            notified(notification.script, notification.pid, descriptor)
    except (Failure, OSError) as error:
        return error
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return None


def _find(program: str) -> str:
    try:
        return os.fsdecode(processes.find_program(program, dict(os.environb)))
    except Failure as failure:
        raise Failure(f"checkpoint and restore need CRIU: {failure.text}: install criu") from None


def _arrange(descriptors: list[int], line: channel.ChildLine) -> None:
    """Give the descriptors the numbers from 0 on, and close all others but the line, which execve closes."""
    # First all out of the way: a number that is wanted may be one that is still needed.
    line.reader, line.writer = (_moved(end, fcntl.F_DUPFD_CLOEXEC) for end in (line.reader, line.writer))
    moved = [_moved(descriptor, fcntl.F_DUPFD) for descriptor in descriptors]
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number)
    attributes.close_from(len(moved), line.reader, line.writer)


def _moved(descriptor: int, how: int) -> int:
    return fcntl.fcntl(descriptor, how, _OUT_OF_THE_WAY)
