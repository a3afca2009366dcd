"""`exec`, the child's side: from the host into the container (runc: setns_init_linux.go).

It can import nothing (see `linux.imports`): all that it calls was imported before the clone.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes, lsm, namespaces, seccomp
from hookrun.runtime.linux.seccomp import Program
from hookrun.runtime.log import Log
from hookrun.runtime.process import channel, placement, scheduling, terminal
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message

_SIGKILL = 9


class Plan:
    """What the parent worked out before; the child inherits it with the rest of the memory."""

    __slots__ = (
        "affinity",
        "console",
        "container_id",
        "entrance",
        "identity",
        "init_pidfd",
        "is_inside",
        "keeps_newlines",
        "log",
        "namespaces",
        "passed",
        "platform",
        "process",
        "root",
        "seccomp",
    )

    affinity: dict[str, str] | None
    console: int | None
    container_id: str
    entrance: Entrance
    identity: processes.Identity
    init_pidfd: int
    is_inside: bool
    keeps_newlines: bool
    log: Log
    namespaces: int
    passed: int
    platform: dict[str, Any]
    """The container's `linux` object."""
    process: dict[str, Any]
    root: int | None
    seccomp: Program | None


class Entry:
    """The child's side of `exec`."""

    __slots__ = ("line", "plan", "process")

    def __init__(self, plan: Plan, line: channel.ChildLine) -> None:
        self.plan = plan
        self.line = line
        self.process = plan.process

    def run(self) -> NoReturn:
        """From the host to execve; does not return. Raises Failure, OSError."""
        attributes.set_parent_death_signal(_SIGKILL)
        processes.leave_parents_signals()
        processes.set_oom_score(self.process.get("oomScoreAdj"))
        # From here to execve nobody in the container may look into this process (CVE-2016-9962).
        attributes.set_dumpable(False)
        self._set_affinity("initial")
        if self.plan.log.debugging:
            self._note(f"nsexec[{os.getpid()}]: affinity: {scheduling.affinity_mask()}")
        self.plan.entrance.enter()
        if not self.plan.affinity:
            attributes.reset_cpu_affinity()
        os.setsid()
        self._enter_namespaces()
        self._note("child process in init()")
        self._set_affinity("final")
        self._join_keyring()
        self._open_console()
        self._set_attributes()
        self.line.ask(Message.READY)
        self._become_user_and_execute()

    def _note(self, step: str) -> None:
        """Tell of a step in runc's words, for --debug."""
        if self.plan.log.debugging:
            self.line.tell(Message.DEBUG, step)

    def _enter_namespaces(self) -> None:
        """All at once by the pidfd of the container's first process; the pid namespace the parent has chosen."""
        flags = self.plan.namespaces & ~namespaces.NEWPID
        with failing("failed to enter the container's namespaces"):
            if flags and not self.plan.is_inside:
                namespaces.join(self.plan.init_pidfd, flags)
            if self.plan.root is not None:
                os.fchdir(self.plan.root)
                os.chroot(".")
            if self.plan.namespaces & namespaces.NEWUSER:
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
        attributes.set_dumpable(False)
        attributes.set_parent_death_signal(_SIGKILL)

    def _set_affinity(self, when: str) -> None:
        if self.plan.affinity and self.plan.affinity.get(when):
            scheduling.set_affinity(self.plan.affinity[when])

    def _join_keyring(self) -> None:
        try:
            attributes.join_session_keyring(f"_ses.{self.plan.container_id}")
        except OSError as error:
            if error.errno != 38:
                raise Failure(f"unable to join session keyring: {reason(error)}") from None

    def _open_console(self) -> None:
        if self.plan.console is None:
            return
        pty = terminal.allocate()
        terminal.set_size(pty.master, self.process.get("consoleSize"))
        if self.plan.keeps_newlines:
            terminal.clear_onlcr(pty.master)
        terminal.send(self.plan.console, pty.master, "/dev/pts/ptmx")
        os.close(self.plan.console)
        terminal.become_standard_streams(pty.peer)
        pty.close()
        attributes.set_controlling_terminal(0)

    def _set_attributes(self) -> None:
        if self.process.get("noNewPrivileges"):
            attributes.set_no_new_privileges()
        if self.process.get("scheduler") or self.process.get("ioPriority"):
            scheduling.apply(self.process, scheduling.has_cpuset(self.plan.platform))
        if self.plan.platform.get("personality") or self.plan.platform.get("memoryPolicy"):
            placement.apply(self.plan.platform)

    def _become_user_and_execute(self) -> NoReturn:
        late = bool(self.process.get("noNewPrivileges"))
        self._label()
        variables = processes.parse_environment(self.process)
        processes.prepare(self.process, self.plan.identity, variables)
        attributes.close_from(3 + self.plan.passed, self.line.reader, self.line.writer)
        if not late:
            self._install_seccomp()
        for warning in processes.settle(self.process, self.plan.identity):
            self.line.tell(Message.WARNING, warning)
        attributes.set_dumpable(False)
        program = processes.find_program(self.process["args"][0], variables)
        attributes.set_parent_death_signal(0)
        if late:
            self._install_seccomp()
        self._note("setns_init: about to exec")
        self.line.close()  # what the kernel can't execute says so itself: for runc and its callers, exec has worked
        processes.replace(program, self.process["args"], variables)
        raise AssertionError("execve returned")

    def _label(self) -> None:
        profile, label = self.process.get("apparmorProfile"), self.process.get("selinuxLabel")
        if profile or label:
            if profile:
                lsm.apply_apparmor(profile)
            if label:
                lsm.set_selinux_exec_label(label)

    def _install_seccomp(self) -> None:
        if self.plan.seccomp is not None:
            listener = seccomp.install(self.plan.seccomp)
            if listener is not None:
                self.line.ask(Message.SECCOMP, f"{os.getpid()} {listener}")
                os.close(listener)
