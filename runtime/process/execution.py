"""`exec`, the parent's side: one more process in a container's namespaces and cgroups (runc: exec.go)."""

from __future__ import annotations

import os
import socket
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import rdt
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import files, namespaces, pids, seccomp
from hookrun.runtime.process import channel, entry, handover, seccomp_agent, spawn, terminal
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.spawn import Birth
from hookrun.runtime.spec import generations, go_decoder, shape
from hookrun.runtime.spec import process as spec
from hookrun.runtime.spec.sections import linux, namespace_paths

# What a process of --process has from the container's own where it does not say (runc: newInitConfig).
_INHERITED = (
    "apparmorProfile",
    "capabilities",
    "execCPUAffinity",
    "ioPriority",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)


class Request:
    """What the command line says about the new process."""

    __slots__ = ("cgroups", "console", "detach", "pid_file", "pidfd_socket", "preserve_fds")

    def __init__(self, options: dict[str, Any]) -> None:
        """Raises Failure for a --cgroup that is not CONTROLLER:PATH."""
        self.detach: bool = options["detach"]
        self.console: str = options["console-socket"]
        self.pid_file = os.path.abspath(options["pid-file"]) if options["pid-file"] else ""
        self.pidfd_socket: str = options.get("pidfd-socket") or ""
        self.preserve_fds: int = max(0, options["preserve-fds"])
        self.cgroups = _sub_cgroups(options["cgroup"] or [])


def _sub_cgroups(given: list[str]) -> dict[str, str]:
    """`[CONTROLLER[,CONTROLLER…]:]PATH` arguments as controller to path, "" for all. Raises Failure in runc's words."""
    paths: dict[str, str] = {}
    for argument in given:
        parts = argument.split(":", 2)
        if len(parts) > 2:
            raise Failure(f"invalid --cgroup argument: {argument}")
        if len(parts) == 2:
            paths.update(dict.fromkeys(parts[0].split(","), parts[1]))
        elif len(given) != 1:
            raise Failure(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
        else:
            paths[""] = argument
    return paths


class Execution:
    """One process on its way into a container."""

    __slots__ = ("_init_pidfd", "container", "context", "process", "pty_line", "request")

    def __init__(self, context: Context, container: Container, process: dict[str, Any], request: Request) -> None:
        """Check all that can be checked before. Raises Failure."""
        self.context = context
        self.container = container
        self.process = process
        self.request = request
        self.pty_line: int | None = None
        spec.validate(process)
        spec.check_reach(process, linux(container.config))
        terminal.check_sanity(bool(process.get("terminal")), request.detach, request.console)
        handover.check_preserved(3, request.preserve_fds)
        pidfd = pids.open_if_alive(container.init_pid, container.init_start_time)
        if pidfd is None:
            raise Failure("cannot exec in a stopped container")
        self._init_pidfd = pidfd

    def run(self) -> Birth:
        """Start the process; returns just before its execve. Raises Failure, with nothing left running."""
        plan = self._plan()
        self.context.phase("plan")
        birth = self._give_birth(plan)
        self.context.phase("clone")
        self.context.log.debug(f"nsexec[{birth.pid}]: => nsexec container setup")
        try:
            self._attend(birth)
            self._hand_over(birth)
        except BaseException:
            birth.kill()
            raise
        self.context.phase("entry")
        return birth

    def _plan(self) -> entry.Plan:
        config = self.container.config
        kinds = namespace_paths(config)
        plan = entry.Plan()
        plan.process = self.process
        plan.container_id = self.container.id
        plan.log = self.context.log
        plan.namespaces = sum(flag for kind, flag in namespaces.FLAGS.items() if kind in kinds)
        plan.init_pidfd = self._init_pidfd
        # Without the host's privileges the pid namespace can be entered only from inside the user namespace.
        plan.is_inside = os.geteuid() != 0
        plan.identity = processes.Identity(self.process, self.context.log)
        plan.passed = self.request.preserve_fds
        plan.platform = linux(config)
        plan.affinity = self.process.get("execCPUAffinity")
        plan.seccomp = None
        if linux(config).get("seccomp"):
            plan.seccomp = seccomp.program(linux(config)["seccomp"], self.context.log.debug)
        plan.root = None
        if "mount" not in kinds:
            plan.root = open_root(self.container.init_pid)
        plan.console = self._connect_console()
        plan.keeps_newlines = self.pty_line is not None
        try:
            plan.entrance = self.container.cgroups().entrance(self.request.cgroups or None, self.container.init_pid)
        except Failure as failure:
            raise Failure(f"unable to start container process: {failure.text}") from None
        return plan

    def _connect_console(self) -> int | None:
        if not self.process.get("terminal"):
            return None
        if self.request.console:
            return terminal.connect(self.request.console)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
        self.pty_line = ours.detach()
        descriptor: int = theirs.detach()
        return descriptor

    def _give_birth(self, plan: entry.Plan) -> Birth:
        def main(line: channel.ChildLine) -> NoReturn:
            entry.Entry(plan, line).run()

        try:
            if plan.is_inside:
                birth = spawn.give_birth_inside(plan.namespaces, self._init_pidfd, plan.entrance, main)
            else:
                if plan.namespaces & namespaces.NEWPID:
                    namespaces.join(self._init_pidfd, namespaces.NEWPID)
                birth = spawn.give_birth_at_once(0, plan.entrance, main)
            self._admit(plan, birth)
            self._join_resctrl(birth)
        except OSError as error:
            raise Failure(f"failed to enter the container's pid namespace: {reason(error)}") from None
        finally:
            plan.entrance.close()
            if plan.console is not None:
                os.close(plan.console)
        return birth

    @staticmethod
    def _admit(plan: entry.Plan, birth: Birth) -> None:
        try:
            plan.entrance.admit(birth.pid)
        except BaseException:
            birth.kill()
            raise

    def _join_resctrl(self, birth: Birth) -> None:
        if self.container.state.get("intel_rdt_path"):
            try:
                rdt.enter(self.container.state, birth.pid)
            except BaseException:
                birth.kill()
                raise

    def _attend(self, birth: Birth) -> None:
        """Do what the process can't do itself, until just before its execve. Raises Failure."""
        is_ready = False

        def make_ready(text: str) -> None:
            nonlocal is_ready
            self._set_rlimits(birth)
            is_ready = True

        message, text = birth.line.attend(
            {
                Message.READY: make_ready,
                Message.SECCOMP: lambda text: self._hand_over_listener(birth, text),
                Message.WARNING: lambda text: generations.warn(
                    self.context.log, self.container.state["config"]["oci_version"], text
                ),
                Message.DEBUG: self.context.log.debug,
            }
        )
        if message is Message.ERROR:
            raise Failure(f"unable to start container process: {text}")
        if not is_ready:
            raise Failure("unable to start container process: the process ended before it was ready")
        birth.line.close()  # the child's end was closed: execve is next

    def _set_rlimits(self, birth: Birth) -> None:
        try:
            processes.set_rlimits(birth.pid, self.process.get("rlimits"))
        except Failure as failure:
            raise Failure(f"unable to start container process: {failure.text}") from None

    def _hand_over_listener(self, birth: Birth, text: str) -> None:
        profile = linux(self.container.config)["seccomp"]
        remote = int(text.split()[1])
        seccomp_agent.hand_over(profile, birth.pid, birth.pidfd, remote, self.container.oci_state("running"))

    def _hand_over(self, birth: Birth) -> None:
        if self.request.pidfd_socket:
            line = terminal.connect(self.request.pidfd_socket)
            terminal.send(line, birth.pidfd, "pidfd")
            os.close(line)
        if self.request.pid_file:
            handover.write_pid_file(self.request.pid_file, birth.pid)


def open_root(pid: int) -> int:
    """A descriptor (O_PATH) of what a process has as its root. Raises Failure."""
    path = f"/proc/{pid}/root"
    with failing(f"open {path}"):
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def process_from_flags(
    own: dict[str, Any], options: dict[str, Any], given: set[str], args: list[str]
) -> dict[str, Any]:
    """The process of the command line: the container's `own` with what the flags change. Raises Failure."""
    process = dict(own)
    process["args"] = args
    process["terminal"] = options["tty"] if "tty" in given else False
    for flag, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if options[flag]:
            process[field] = options[flag]
    if "no-new-privs" in given:
        process["noNewPrivileges"] = options["no-new-privs"]
    process["env"] = [*(process.get("env") or []), *(options["env"] or [])]
    process["user"] = _user(process.get("user") or {}, options)
    if options["cap"]:
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, options["cap"])
    return process


def _with_capabilities(sets: dict[str, Any], added: list[str]) -> dict[str, Any]:
    names = ["bounding", "effective", "permitted"]
    # What is not inheritable can't be ambient, and --cap makes nothing inheritable (runc: exec.go).
    if sets.get("inheritable") is not None:
        names.append("ambient")
    return {**sets, **{name: [*(sets.get(name) or []), *added] for name in names}}


def _user(user: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    user = dict(user)
    if options["user"]:
        uid, separator, gid = options["user"].partition(":")
        if separator:
            user["gid"] = _id(gid, "gid")
        user["uid"] = _id(uid, "uid")
    gids = options["additional-gids"] or []
    for gid_number in gids:
        if gid_number < 0:
            raise Failure(f"additional-gids must be a positive number {gid_number}")
    user["additionalGids"] = [*(user.get("additionalGids") or []), *gids]
    return user


def _id(text: str, kind: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise Failure(
            f'parsing {text} as int for {kind} failed: strconv.Atoi: parsing "{text}": invalid syntax'
        ) from None
    return number


def completed(process: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The process of --process with what it leaves out, as far as that is the container's `own`."""
    return {**process, **{field: own[field] for field in _INHERITED if own.get(field) and not process.get(field)}}


def process_from_file(path: str, is_for_another: bool = False) -> dict[str, Any]:
    """The process object of --process; one that another runtime is to read has to mean the same to every decoder.

    Raises Failure.
    """
    try:
        found, is_read_alike = jsonio.decoded(files.read_bytes(path))
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise Failure(f"{path}: it must be a JSON object")
    is_respelled = go_decoder.normalize(found, shape.PROCESS)
    if is_for_another and (is_respelled or not is_read_alike):
        raise Failure(f"{path}: the runtime behind hookrun may read it otherwise: give each field once, in its case")
    shape.check(found, shape.PROCESS, path)
    return found
