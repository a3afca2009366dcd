"""The container's first process, from its birth to execve, in the order of runc's standard_init_linux.go.

It can import nothing (see `linux.imports`): all that it calls was imported before the clone.
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.container import hooks
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes, files, lsm, memory, namespaces, network, seccomp
from hookrun.runtime.linux.seccomp import Program
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.log import Log
from hookrun.runtime.process import channel, placement, scheduling, terminal
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.spawn import Namespaces
from hookrun.runtime.rootfs import rootfs
from hookrun.runtime.rootfs.cgroup_mounts import CgroupMounts
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.spec.hooks import STATUSES, of_stage
from hookrun.runtime.spec.sections import linux, namespace_paths

_SIGKILL = 9
_ENDING = (1, 2, 15)  # SIGHUP, SIGINT, SIGTERM


class Plan:
    """What the parent worked out before the birth; the child inherits it with the rest of the memory."""

    __slots__ = (
        "bundle",
        "cgroup_mounts",
        "config",
        "console",
        "container_id",
        "entrance",
        "fifo",
        "hook_state",
        "identity",
        "is_hidden",
        "judged",
        "keeps_newlines",
        "keyring",
        "log",
        "namespaces",
        "no_pivot",
        "passed",
        "seccomp",
        "sources",
    )

    bundle: str
    cgroup_mounts: CgroupMounts
    config: dict[str, Any]
    console: int | None
    container_id: str
    entrance: Entrance
    fifo: int
    hook_state: dict[str, Any]
    identity: processes.Identity
    is_hidden: bool
    """Whether only who has privileges may look into the process before execve."""
    judged: Judged
    keeps_newlines: bool
    keyring: bool
    log: Log
    namespaces: Namespaces
    no_pivot: bool
    passed: int
    seccomp: Program | None
    sources: dict[int, int]


class Init:
    """The child's side of a birth."""

    __slots__ = ("_mappings", "config", "kinds", "line", "plan", "process")

    def __init__(self, plan: Plan, line: channel.ChildLine) -> None:
        self.plan = plan
        self.line = line
        self.config = plan.config
        self.process: dict[str, Any] = plan.config["process"]
        self.kinds = namespace_paths(plan.config)

    def run(self) -> NoReturn:
        """From birth to execve; does not return. Raises Failure, OSError."""
        self._mappings = memory.unchanged_mappings()
        self._detach_from_parent()
        variables = processes.parse_environment(self.process)
        self._enter_namespaces()
        self._note("child process in init()")
        self._join_keyring()
        if self.plan.namespaces.is_new("network"):
            network.bring_loopback_up()
        filesystem = self._prepare_rootfs()
        self._open_console(filesystem)
        self._finish_rootfs(filesystem)
        self._set_attributes()
        self.line.ask(Message.READY)
        self._become_user_and_wait(variables)

    def _note(self, step: str) -> None:
        """Tell of a step in runc's words, for --debug."""
        if self.plan.log.debugging:
            self.line.tell(Message.DEBUG, step)

    def _detach_from_parent(self) -> None:
        attributes.set_parent_death_signal(_SIGKILL)
        processes.leave_parents_signals()
        # The kernel keeps signals without a handler from the first process of a pid namespace.
        for number in _ENDING:
            signal.signal(number, _end)
        os.setsid()
        processes.set_oom_score(self.process.get("oomScoreAdj"))

    def _enter_namespaces(self) -> None:
        self.plan.entrance.enter()
        attributes.reset_cpu_affinity()
        if self.plan.namespaces.is_new("user"):
            if not self._is_mapped():
                self.line.ask(Message.MAPPINGS)
            self._become_root()
        elif "user" in self.kinds:
            self._become_root()
        self._hide()
        attributes.set_parent_death_signal(_SIGKILL)
        late = self.plan.namespaces.at_root()
        if late:
            namespaces.unshare(late)

    def _hide(self) -> None:
        if self.plan.is_hidden:
            attributes.set_dumpable(False)

    def _is_mapped(self) -> bool:
        """Whether the intermediate process had the maps written already."""
        with open("/proc/self/uid_map", "rb", buffering=0) as file:
            return bool(file.read(1))

    def _become_root(self) -> None:
        with failing("failed to become root in the user namespace"):
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            if processes.may_set_groups():
                os.setgroups([])

    def _join_keyring(self) -> None:
        if not self.plan.keyring:
            return
        try:
            attributes.join_session_keyring(f"_ses.{self.plan.container_id}")
        except OSError as error:
            if error.errno != 38:
                raise Failure(f"unable to join session keyring: {reason(error)}") from None

    def _prepare_rootfs(self) -> rootfs.Rootfs:
        """The rootfs, entered."""
        plan = self.plan
        filesystem = rootfs.prepare(self.config, plan.bundle, plan.sources, plan.judged, plan.cgroup_mounts, plan.log)
        # Now that devices are made, the parent restricts them and sets the limits; before, the way to them would be
        # closed for a moment. It also moves devices in and runs the prestart and createRuntime hooks.
        self.line.ask(Message.PREPARED)
        os.fchdir(filesystem.root)
        self._run_hooks("createContainer")
        filesystem.enter(plan.no_pivot)
        self._make_cwd()
        return filesystem

    def _make_cwd(self) -> None:
        """The working directory is made where missing, as the container's root does it (runc: prepareRootfs)."""
        cwd = self.process["cwd"]
        try:
            files.make_directories(cwd, 0o755)
        except FileExistsError:
            raise Failure(f"mkdir {cwd}: not a directory") from None
        except OSError as error:
            raise Failure(f"mkdir {cwd}: {reason(error)}") from None

    def _run_hooks(self, stage: str) -> None:
        if not of_stage(self.config, stage):
            return
        state = {**self.plan.hook_state, "status": STATUSES[stage], "pid": os.getpid()}
        hooks.run_stage(self.config, stage, state, self._report_hook, self.process.get("env"))

    def _report_hook(self, result: dict[str, Any]) -> None:
        self.line.tell(Message.HOOK_RESULT, jsonio.dumps(result))

    def _open_console(self, filesystem: rootfs.Rootfs) -> None:
        if self.plan.console is None:
            return
        pty = terminal.allocate()
        terminal.set_size(pty.master, self.process.get("consoleSize"))
        if self.plan.keeps_newlines:
            terminal.clear_onlcr(pty.master)
        filesystem.mount_console(pty.peer)
        terminal.send(self.plan.console, pty.master, "/dev/pts/ptmx")
        os.close(self.plan.console)
        terminal.become_standard_streams(pty.peer)
        pty.close()
        attributes.set_controlling_terminal(0)

    def _finish_rootfs(self, filesystem: rootfs.Rootfs) -> None:
        filesystem.finalize()
        self._set_names()
        self._apply_apparmor()
        rootfs.apply_sysctls(self.config)
        filesystem.restrict_paths()

    def _set_names(self) -> None:
        for field, number in (("hostname", NR.sethostname), ("domainname", NR.setdomainname)):
            name = (self.config.get(field) or "").encode()
            if name:
                try:
                    call(number, name, len(name))
                except OSError as error:
                    raise Failure(f"set{field} {name.decode()}: {reason(error)}") from None

    def _apply_apparmor(self) -> None:
        profile = self.process.get("apparmorProfile")
        if profile:
            try:
                lsm.apply_apparmor(profile)
            except Failure as failure:
                raise Failure(f"unable to apply apparmor profile: {failure.text}") from None

    def _set_attributes(self) -> None:
        if self.process.get("noNewPrivileges"):
            attributes.set_no_new_privileges()
        if self.process.get("scheduler") or self.process.get("ioPriority"):
            scheduling.apply(self.process, scheduling.has_cpuset(linux(self.config)))
        if linux(self.config).get("personality") or linux(self.config).get("memoryPolicy"):
            placement.apply(linux(self.config))

    def _become_user_and_wait(self, variables: dict[bytes, bytes]) -> NoReturn:
        late = bool(self.process.get("noNewPrivileges"))
        self._label()
        processes.prepare(self.process, self.plan.identity, variables)
        # Nobody's descriptors are held open by a container that waits for `start`.
        attributes.close_from(3 + self.plan.passed, self.line.reader, self.line.writer, self.plan.fifo)
        # Without no_new_privs a filter needs CAP_SYS_ADMIN, which goes with the user; with it, it comes last.
        if not late:
            # A filter need not allow madvise; the process is about to wait.
            memory.let_go(self._mappings)
            self._install_seccomp()
        for warning in processes.settle(self.process, self.plan.identity):
            self.line.tell(Message.WARNING, warning)
        self._hide()
        program = processes.find_program(self.process["args"][0], variables)
        attributes.set_parent_death_signal(0)
        if late:
            memory.let_go(self._mappings)
            self._install_seccomp()
        self._note("init: closing the pipe to signal completion")
        self.line.ask(Message.FINISHED)
        self.line.close()
        self._wait_for_start()
        self._run_start_hooks(variables)
        processes.replace(program, self.process["args"], variables)
        raise AssertionError("execve returned")

    def _label(self) -> None:
        label = self.process.get("selinuxLabel")
        if label:
            lsm.set_selinux_exec_label(label)

    def _install_seccomp(self) -> None:
        if self.plan.seccomp is not None:
            listener = seccomp.install(self.plan.seccomp)
            if listener is not None:
                self.line.ask(Message.SECCOMP, f"{os.getpid()} {listener}")
                os.close(listener)

    def _wait_for_start(self) -> None:
        """Block until `start` writes into the exec fifo.

        The fifo is open for writing here too, so that a `start` that is killed half-way does not end the wait. It
        stays open up to execve, whose success `start` sees by that.
        """
        os.read(self.plan.fifo, 1)

    def _run_start_hooks(self, variables: dict[bytes, bytes]) -> None:
        stage = "startContainer"
        if of_stage(self.config, stage):
            state = {**self.plan.hook_state, "status": STATUSES[stage], "pid": os.getpid()}
            env = [os.fsdecode(name + b"=" + value) for name, value in variables.items()]
            hooks.run_stage(self.config, stage, state, lambda result: None, env)


def _end(number: int, frame: object) -> NoReturn:
    """What a signal does to a container that waits for `start`."""
    os._exit(128 + number)
