"""What every process of a container does between its clone and execve, the first (`standard_init`) and those that
`exec` brings (`setns_init`): the child's half, to which `parent` is the other. Source: runc's init_linux.go.

It can import nothing (see `linux.imports`): all that it calls was imported before the clone.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.documents import Linux, Process
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes, lsm, seccomp
from hookrun.runtime.linux.seccomp import Program
from hookrun.runtime.process import channel, placement, scheduling, terminal
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message


@dataclass(frozen=True, slots=True)
class Plan:
    """What the parent worked out before the clone; the child inherits it with the rest of the memory."""

    container_id: str
    process: Process
    platform: Linux
    """The container's `linux` object."""
    identity: processes.Identity
    is_hidden: bool
    """Whether only who has privileges may look into the process before execve."""
    is_debugging: bool
    console: int | None
    """Where the terminal's master is to be sent; None for a process without a terminal."""
    keeps_newlines: bool
    keyring: bool
    passed: int
    """How many descriptors after the standard streams the process keeps."""
    seccomp: Program | None


class Init:
    """The child's half; what differs is in the methods that raise NotImplementedError here."""

    __slots__ = ("kept", "line", "plan", "process")

    def __init__(self, plan: Plan, line: channel.ChildLine) -> None:
        self.plan = plan
        self.line = line
        self.process = plan.process
        self.kept: tuple[int, ...] = ()
        """Descriptors that stay open until execve, besides the line."""

    def run(self) -> NoReturn:
        """From clone to execve; does not return. Raises Failure, OSError."""
        self._detach_from_parent()
        variables = processes.parse_environment(self.process)
        self.enter_container()
        self._set_attributes()
        self.line.ask(Message.READY)
        program = self._become_user(variables)
        self.leave_parent(variables)
        processes.replace(program, self.process["args"], variables)
        raise AssertionError("execve returned")

    def enter_container(self) -> None:
        """Enter the cgroups, the namespaces and the rootfs."""
        raise NotImplementedError

    def leave_parent(self, variables: dict[bytes, bytes]) -> None:
        """Tell the parent that nothing is left to do but execve, and end the line."""
        raise NotImplementedError

    def note(self, step: str) -> None:
        """Tell of a step in runc's words, for --debug."""
        if self.plan.is_debugging:
            self.line.tell(Message.DEBUG, step)

    def _detach_from_parent(self) -> None:
        attributes.set_parent_death_signal(signal.SIGKILL)
        processes.leave_parents_signals()
        os.setsid()
        processes.set_oom_score(self.process.get("oomScoreAdj"))

    def hide(self) -> None:
        """Have nobody in the container look into this process (CVE-2016-9962), and end it with its parent.

        A change of user undoes both.
        """
        self._become_undumpable()
        attributes.set_parent_death_signal(signal.SIGKILL)

    def _become_undumpable(self) -> None:
        if self.plan.is_hidden:
            attributes.set_dumpable(False)

    @staticmethod
    def become_root() -> None:
        """Become root in the user namespace that was entered."""
        with failing("failed to become root in the user namespace"):
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            if processes.may_set_groups():
                os.setgroups([])

    def join_keyring(self) -> None:
        """Join the container's session keyring, as far as the kernel has keyrings."""
        if not self.plan.keyring:
            return
        try:
            attributes.join_session_keyring(f"_ses.{self.plan.container_id}")
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise Failure(f"unable to join session keyring: {reason(error)}") from None

    def open_console(self, show: Callable[[int], None] = lambda peer: None) -> None:
        """Make the terminal and hand its master over; `show` gets the peer before. Raises Failure."""
        if self.plan.console is None:
            return
        pty = terminal.allocate()
        terminal.set_size(pty.master, self.process.get("consoleSize"))
        if self.plan.keeps_newlines:
            terminal.clear_onlcr(pty.master)
        show(pty.peer)
        terminal.send(self.plan.console, pty.master, "/dev/pts/ptmx")
        os.close(self.plan.console)
        terminal.become_standard_streams(pty.peer)
        pty.close()
        attributes.set_controlling_terminal(0)

    def _set_attributes(self) -> None:
        platform = self.plan.platform
        if self.process.get("noNewPrivileges"):
            attributes.set_no_new_privileges()
        if self.process.get("scheduler") or self.process.get("ioPriority"):
            scheduling.apply(self.process, is_pinned=scheduling.has_cpuset(platform))
        if platform.get("personality") or platform.get("memoryPolicy"):
            placement.apply(platform)

    def _become_user(self, variables: dict[bytes, bytes]) -> bytes:
        """Become the process's user under its seccomp filter; returns the program's path."""
        # Without no_new_privs a filter needs CAP_SYS_ADMIN, which goes with the user; with it, it comes last.
        is_filtered_last = bool(self.process.get("noNewPrivileges"))
        self.label()
        processes.prepare(self.process, self.plan.identity, variables)
        # Nobody's descriptors are held open by a container that waits for `start`.
        attributes.close_from(3 + self.plan.passed, self.line.reader, self.line.writer, *self.kept)
        if not is_filtered_last:
            self._install_seccomp()
        for warning in processes.settle(self.process, self.plan.identity):
            self.line.tell(Message.WARNING, warning)
        self._become_undumpable()
        program = processes.find_program(self.process["args"][0], variables)
        attributes.set_parent_death_signal(0)
        if is_filtered_last:
            self._install_seccomp()
        return program

    def label(self) -> None:
        """Have execve label the process."""
        label = self.process.get("selinuxLabel")
        if label:
            lsm.set_selinux_exec_label(label)

    def save_memory(self) -> None:
        """Give back what a process that is about to wait does without. Later, a filter need not allow it."""

    def _install_seccomp(self) -> None:
        self.save_memory()
        if self.plan.seccomp is not None:
            listener = seccomp.install(self.plan.seccomp)
            if listener is not None:
                self.line.ask(Message.SECCOMP, f"{os.getpid()} {listener}")
                os.close(listener)


def enter_cgroups(entrance: Entrance, line: channel.ChildLine) -> None:
    """Enter the cgroups, once the parent has done its part where it has one. Raises Failure."""
    if entrance.needs_admission():
        line.ask(Message.CGROUPS)
    entrance.enter()
