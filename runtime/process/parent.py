"""What hookrun does for every new process of a container, the first (`creation`) and those that `exec` brings
(`execution`): the parent's half, to which `init` is the other. Source: runc's process_linux.go.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.context import Context, Options
from hookrun.runtime.documents import Linux, Process
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import seccomp
from hookrun.runtime.process import channel, handover, init, seccomp_agent, terminal
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.spawn import ChildProcess
from hookrun.runtime.spec import generations


class Request:
    """What the command line says about any new process."""

    __slots__ = ("console", "detach", "pid_file", "pidfd_socket", "preserve_fds")

    def __init__(self, options: Options, *, detach: bool) -> None:
        """Read the options; paths are made absolute before the directory changes."""
        self.detach = detach
        self.console: str = options["console-socket"]
        self.pid_file = os.path.abspath(options["pid-file"]) if options["pid-file"] else ""
        self.pidfd_socket: str = options.get("pidfd-socket") or ""
        self.preserve_fds: int = max(0, options.get("preserve-fds") or 0)  # as runc's loop has it


class Parent:
    """The parent's half; what differs is in the methods that raise NotImplementedError here."""

    __slots__ = ("_is_ready", "_passed", "_platform", "_process", "context", "pty_line", "request")

    request: Request

    def __init__(
        self, context: Context, request: Request, process: Process, platform: Linux, listening: int = 0
    ) -> None:
        """Check what the caller passes to the process.

        `platform` is the container's `linux` object, `listening` the number of sockets of socket activation. Raises
        Failure.
        """
        self.context = context
        self.request = request
        self.pty_line: int | None = None
        """Where the master of the process's terminal arrives, if this process is to have it."""
        self._process = process
        self._platform = platform
        self._is_ready = False
        terminal.check_sanity(terminal=self._has_terminal(), detach=request.detach, console_socket=request.console)
        handover.check_preserved(3 + listening, request.preserve_fds)
        self._passed = listening + request.preserve_fds

    def agent_state(self, pid: int) -> dict[str, Any]:
        """The state that a seccomp agent gets."""
        raise NotImplementedError

    def _has_terminal(self) -> bool:
        return bool(self._process.get("terminal"))

    def _shared_plan(self, container_id: str, *, keyring: bool, is_hidden: bool) -> init.Plan:
        profile = self._platform.get("seccomp")
        return init.Plan(
            container_id=container_id,
            process=self._process,
            platform=self._platform,
            identity=processes.Identity(self._process, self.context.log),
            is_hidden=is_hidden,
            is_debugging=self.context.log.debugging,
            console=self._connect_console(),
            keeps_newlines=self.pty_line is not None,
            keyring=keyring,
            passed=self._passed,
            seccomp=seccomp.program(profile, self.context.log.debug) if profile else None,
        )

    def _connect_console(self) -> int | None:
        if not self._has_terminal():
            return None
        if self.request.console:
            return terminal.connect(self.request.console)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
        self.pty_line = ours.detach()
        descriptor: int = theirs.detach()
        return descriptor

    def _attend(
        self, child: ChildProcess, entrance: Entrance, parts: dict[Message, Callable[[str], None]]
    ) -> Message | None:
        """Do what the child can't do itself, as it asks for it; `parts` is what only this kind of child asks for.

        Returns the message that has no part, None where the line has ended. Raises Failure.
        """
        shared: channel.Parts = {
            Message.CGROUPS: lambda text: entrance.admit(child.pid),
            Message.READY: lambda text: self.make_ready(child),
            Message.SECCOMP: lambda text: self._hand_over_listener(child, text),
            Message.WARNING: self.warn,
            Message.DEBUG: self.context.log.debug,
        }
        message, text = child.line.attend({**shared, **parts})
        if message is Message.ERROR:
            raise self.failure(text)
        return message

    def make_ready(self, child: ChildProcess) -> None:
        """What is done for a child that is in the container. Raises Failure."""
        try:
            processes.set_rlimits(child.pid, self._process.get("rlimits"))
        except Failure as failure:
            raise self.failure(failure.text) from None
        self._is_ready = True

    def warn(self, text: str) -> None:
        """Warn of what runc warns of since 1.2."""
        generations.warn(self.context.log, self._oci_version(), text)

    def _oci_version(self) -> str:
        """What the engine wrote into the container's config."""
        raise NotImplementedError

    def note_clone(self, child: ChildProcess) -> None:
        """Tell of a new child in runc's words, for --debug."""
        self.context.log.debug(f"nsexec[{child.pid}]: => nsexec container setup")

    def failure(self, text: str) -> Failure:
        """What went wrong with the child, in runc's words."""
        return Failure(f"unable to start container process: {text}")

    def _hand_over_listener(self, child: ChildProcess, text: str) -> None:
        remote = int(text.split()[1])
        seccomp_agent.hand_over(self._platform["seccomp"], child.pid, child.pidfd, remote, self.agent_state(child.pid))

    def _hand_over(self, child: ChildProcess) -> None:
        """Give the caller the child's pidfd and pid. Raises Failure."""
        if self.request.pidfd_socket:
            line = terminal.connect(self.request.pidfd_socket)
            terminal.send(line, child.pidfd, "pidfd")
            os.close(line)
        if self.request.pid_file:
            handover.write_pid_file(self.request.pid_file, child.pid)
