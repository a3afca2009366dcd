"""Making a container: from a checked config to a process that waits for `start`. The parent's side of the birth."""

from __future__ import annotations

import os
import socket
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import choice, rdt
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.container import container, hooks, notify
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure, failing
from hookrun.runtime.linux import namespaces, pids, seccomp
from hookrun.runtime.process import (
    channel,
    handover,
    init,
    mappings,
    net_devices,
    seccomp_agent,
    spawn,
    terminal,
)
from hookrun.runtime.process import process as processes
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.spawn import Birth
from hookrun.runtime.rootfs import cgroup_mounts, host_mounts, rootfs
from hookrun.runtime.spec import config as configs
from hookrun.runtime.spec import container_mounts, generations
from hookrun.runtime.spec.hooks import STAGES, STATUSES, of_stage
from hookrun.runtime.spec.sections import linux, namespace_paths, root_path

_NOTHING_TO_KILL_BY = (
    "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly "
    "discouraged (as it is impossible to properly kill all container's processes) and will result in an error in a "
    "future runc version."
)
_STATE_NAMESPACES = {
    "mount": "NEWNS",
    "network": "NEWNET",
    "uts": "NEWUTS",
    "pid": "NEWPID",
    "ipc": "NEWIPC",
    "user": "NEWUSER",
    "cgroup": "NEWCGROUP",
    "time": "NEWTIME",
}


class Request:
    """What the command line says about a new container."""

    __slots__ = (
        "bundle",
        "console",
        "container_id",
        "detach",
        "no_new_keyring",
        "no_pivot",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
    )

    def __init__(self, options: dict[str, Any], container_id: str, detach: bool) -> None:
        """Read the options of `create`, `run` and `restore`; paths are made absolute before the directory changes."""
        self.container_id = container_id
        self.detach = detach
        self.bundle = os.path.abspath(options["bundle"] or ".")
        self.pid_file = os.path.abspath(options["pid-file"]) if options["pid-file"] else ""
        self.preserve_fds: int = max(0, options.get("preserve-fds") or 0)  # as runc's loop has it
        self.no_pivot: bool = options["no-pivot"]
        self.no_new_keyring: bool = options.get("no-new-keyring") or False
        self.pidfd_socket: str = options.get("pidfd-socket") or ""
        self.console: str = options["console-socket"]


class Creation:
    """One container in the making, and how to undo what has been made."""

    __slots__ = (
        "_birth",
        "_draft",
        "_manager",
        "_mounts_before",
        "_resctrl",
        "config",
        "context",
        "passed",
        "pty_line",
        "request",
    )

    def __init__(self, context: Context, request: Request) -> None:
        """Read and check everything that can be checked before anything is made. Raises Failure."""
        self.context = context
        self.request = request
        self._birth: Birth | None = None
        self._manager: Manager | None = None
        self._resctrl = ("", False)
        self._mounts_before: int | None = None
        self.pty_line: int | None = None
        request.bundle = _entered(request.bundle)
        found = context.config if context.config is not None else configs.read(request.bundle)
        self.config = configs.check(found)
        container.check_id(request.container_id)
        configs.check_rootfs(root_path(self.config, request.bundle))
        container_mounts.check(self.config, request.bundle, request.no_pivot, context.log)
        terminal.check_sanity(self._has_terminal(), request.detach, request.console)
        listening = handover.listen_descriptors()
        handover.check_preserved(3 + listening, request.preserve_fds)
        self.passed = listening + request.preserve_fds
        if listening:
            process = self.config["process"]
            process["env"] = [*(process.get("env") or []), f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
        self._draft = container_directory.Draft(context.root, request.container_id)

    def notify_proxy(self) -> notify.Proxy | None:
        """The container's socket for sd_notify, where the caller has one."""
        host = os.getenv("NOTIFY_SOCKET")
        if not host:
            return None
        return notify.Proxy(self._draft.directory, host)

    def _has_terminal(self) -> bool:
        return bool(self.config["process"].get("terminal"))

    def run(self) -> tuple[Container, Birth]:
        """Make the container; its process waits for `start`. Raises Failure, with everything undone."""
        try:
            self._share_notify_socket()
            finished = self._make()
        except BaseException:
            self.undo()
            raise
        assert self._birth is not None
        return finished, self._birth

    def _share_notify_socket(self) -> None:
        if os.getenv("NOTIFY_SOCKET"):
            notify.add_to(self.config, self._draft.directory)

    def _make(self) -> Container:
        self.context.phase("check")
        if not rootfs.has_mount_namespace(self.config):
            self._mounts_before = rootfs.mounts_at(root_path(self.config, self.request.bundle))
        manager = self._make_cgroups()
        self.context.phase("cgroups")
        plan = self._plan(manager)
        self.context.phase("plan")
        self._birth = spawn.give_birth(plan.namespaces, plan.entrance, self._child_main(plan))
        self.context.phase("clone")
        self.context.log.debug(f"nsexec[{self._birth.pid}]: => nsexec container setup")
        plan.entrance.admit(self._birth.pid)
        plan.entrance.close()
        os.close(plan.fifo)
        for descriptor in plan.sources.values():
            os.close(descriptor)
        if plan.console is not None:
            os.close(plan.console)
        plan.namespaces.close()
        return self._attend(self._birth, manager)

    def _make_cgroups(self) -> Manager:
        manager = choice.for_config(
            self.config,
            self.request.container_id,
            self.context.systemd_cgroup,
            self.context.ignores_cgroup_errors(),
            self.context.log,
        )
        manager.check_unused()
        self._manager = manager
        creator = {"creator_pid": os.getpid(), "creator_start": pids.stat(os.getpid())[1]}
        mounts = {"mounts_before": self._mounts_before}
        self._draft.note_progress({**self._state(manager, 0, 0), **creator, **mounts})
        try:
            manager.create(self._resources())
        except Failure as failure:
            raise Failure(
                f"unable to start container process: unable to apply cgroup configuration: {failure.text}"
            ) from None
        if manager.rootless and not manager.exists() and namespace_paths(self.config).get("pid") != "":
            self._warn(_NOTHING_TO_KILL_BY)
        return manager

    def _warn(self, text: str) -> None:
        generations.warn(self.context.log, self.config.get("ociVersion") or "", text)

    def _set_limits(self, manager: Manager) -> None:
        try:
            manager.apply(self._resources())
        except Failure as failure:
            raise self._init_error(f"error setting cgroup config for procHooks process: {failure.text}") from None

    def _resources(self) -> dict[str, Any]:
        found: dict[str, Any] = linux(self.config).get("resources") or {}
        return found

    def _plan(self, manager: Manager) -> init.Plan:
        plan = init.Plan()
        plan.config = self.config
        plan.bundle = self.request.bundle
        plan.container_id = self.request.container_id
        plan.log = self.context.log
        plan.namespaces = spawn.Namespaces(self.config, self.context.judged.namespaces)
        # An ordinary user's hookrun has to look into it itself, for the seccomp agent and for an `exec` before `start`;
        # and in namespaces that nobody else is in there is nobody to hide from (runc: nsexec.c).
        plan.is_hidden = os.geteuid() == 0 or bool(plan.namespaces.joined)
        plan.identity = processes.Identity(self.config["process"], self.context.log)
        plan.no_pivot = self.request.no_pivot
        plan.keyring = not self.request.no_new_keyring
        plan.passed = self.passed
        plan.hook_state = self._oci_state("creating", 0)
        plan.console = self._connect_console()
        plan.keeps_newlines = self.pty_line is not None
        plan.seccomp = self._seccomp_program()
        plan.judged = self.context.judged
        plan.sources = host_mounts.open_sources(self.config, self.request.bundle, plan.judged, self.context.log)
        plan.cgroup_mounts = cgroup_mounts.plan(self.config, manager.paths)
        plan.fifo = self._draft.make_exec_fifo()
        plan.entrance = manager.entrance()
        return plan

    def _seccomp_program(self) -> Any:
        profile = linux(self.config).get("seccomp")
        if not profile:
            return None
        return seccomp.program(profile, self.context.log.debug)

    def _connect_console(self) -> int | None:
        if not self._has_terminal():
            return None
        if self.request.console:
            return terminal.connect(self.request.console)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
        self.pty_line = ours.detach()
        descriptor: int = theirs.detach()
        return descriptor

    def _oci_state(self, status: str, pid: int) -> dict[str, Any]:
        return container.oci_state(
            self.request.container_id, status, pid, self.request.bundle, self.config.get("annotations") or {}
        )

    @staticmethod
    def _child_main(plan: init.Plan) -> Any:
        def main(line: channel.ChildLine) -> NoReturn:
            init.Init(plan, line).run()

        return main

    def _attend(self, birth: Birth, manager: Manager) -> Container:
        """Do what the child can't do itself, as it asks for it, until it is ready to wait for `start`.

        The child goes on to wait only once the state is written: before, the end of this process ends it too.
        Raises Failure.
        """
        self._draft.keep_config(self.config)
        is_ready = False

        def prepare(text: str) -> None:
            self._set_limits(manager)
            self._before_pivot(birth)

        def make_ready(text: str) -> None:
            nonlocal is_ready
            self._set_rlimits(birth)
            self.context.phase("init")
            is_ready = True

        message, text = birth.line.attend(
            {
                Message.MAPPINGS: lambda text: mappings.write(self.config, birth.pid),
                Message.PREPARED: prepare,
                Message.HOOK_RESULT: self._note_hook_text,
                Message.READY: make_ready,
                Message.SECCOMP: lambda text: self._hand_over_listener(birth, text),
                Message.WARNING: self._warn,
                Message.DEBUG: self.context.log.debug,
            }
        )
        if message is Message.FINISHED:
            finished = self._finish(birth, manager)
            birth.line.answer()
            self.context.phase("finish")
            return finished
        if message is Message.ERROR and is_ready:
            # What goes wrong from here on is about the process itself; runc has no preamble for it.
            raise Failure(f"unable to start container process: {text}")
        raise self._init_error(text if message is Message.ERROR else self._how_it_ended(birth))

    def _before_pivot(self, birth: Birth) -> None:
        """What runc's parent does at procHooks: devices moved in, the hooks of the runtime's namespaces run."""
        if linux(self.config).get("netDevices"):
            net_devices.move_in(linux(self.config)["netDevices"], birth.pid)
        if linux(self.config).get("intelRdt"):
            self._resctrl = rdt.join(self.config, self.request.container_id, birth.pid)
        for stage in ("prestart", "createRuntime"):
            if of_stage(self.config, stage):
                self._run_hooks(stage, birth.pid)

    def _set_rlimits(self, birth: Birth) -> None:
        try:
            processes.set_rlimits(birth.pid, self.config["process"].get("rlimits"))
        except Failure as failure:
            raise self._init_error(failure.text) from None

    def _run_hooks(self, stage: str, pid: int) -> None:
        state = self._oci_state(STATUSES[stage], pid)
        try:
            hooks.run_stage(self.config, stage, state, self.context.hook_results.append)
        except Failure as failure:
            raise self._init_error(failure.text) from None

    def _note_hook_text(self, text: str) -> None:
        self.context.hook_results.append(jsonio.loads(text))

    def _hand_over_listener(self, birth: Birth, text: str) -> None:
        remote = int(text.split()[1])
        seccomp_agent.hand_over(
            linux(self.config)["seccomp"], birth.pid, birth.pidfd, remote, self._oci_state("creating", birth.pid)
        )

    @staticmethod
    def _init_error(text: str) -> Failure:
        return Failure(f"unable to start container process: error during container init: {text}")

    def _how_it_ended(self, birth: Birth) -> str:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(birth.pid, 0)[1])
        except ChildProcessError:
            return "the process ended"
        if self._manager is not None and self._manager.oom_kill_count():
            return "container init was OOM-killed (memory limit too low?)"
        return f"the process ended with status {status}" if status >= 0 else f"signal {-status} killed the process"

    def _finish(self, birth: Birth, manager: Manager) -> Container:
        """Write the state, last of all: from then on it is a container."""
        if self.request.pidfd_socket:
            line = terminal.connect(self.request.pidfd_socket)
            terminal.send(line, birth.pidfd, "pidfd")
            os.close(line)
        if self.request.pid_file:
            handover.write_pid_file(self.request.pid_file, birth.pid)
        return self._draft.finish(self._state(manager, birth.pid, pids.stat(birth.pid)[1]))

    def _state(self, manager: Manager, pid: int, started: int) -> dict[str, Any]:
        """runc's state.json, in so far as others read it."""
        labels = [f"{name}={value}" for name, value in (self.config.get("annotations") or {}).items()]
        kinds = namespace_paths(self.config)
        return {
            "id": self.request.container_id,
            "init_process_pid": pid,
            "init_process_start": started,
            "created": container_directory.now(),
            "config": {
                "rootfs": root_path(self.config, self.request.bundle),
                "readonlyfs": bool(self.config["root"].get("readonly")),
                "hostname": self.config.get("hostname") or "",
                "namespaces": [{"type": _STATE_NAMESPACES[kind], "path": path} for kind, path in kinds.items()],
                "cgroups": choice.state_form(
                    self.config,
                    self.request.container_id,
                    self.context.systemd_cgroup,
                    manager.rootless,
                ),
                "labels": [*labels, f"bundle={self.request.bundle}"],
                "oci_version": self.config.get("ociVersion") or "",
                "hook_stages": [stage for stage in STAGES if of_stage(self.config, stage)],
            },
            "rootless": os.geteuid() != 0,
            "cgroup_paths": manager.paths,
            "namespace_paths": {
                name: f"/proc/{pid}/ns/{namespaces.PROC_NAMES[kind]}" for kind, name in _STATE_NAMESPACES.items()
            },
            "external_descriptors": self._stream_names(),
            "intel_rdt_path": self._resctrl[0],
            "intel_rdt_created": self._resctrl[1],
        }

    def _stream_names(self) -> list[str]:
        """What the container's standard streams are on the host, for a checkpoint; a terminal is its own."""
        if self._has_terminal():
            return ["/dev/null"] * 3
        return [_stream_name(number) for number in range(3)]

    def undo(self) -> None:
        """Take back what has been made; what can't be is left to `delete --force` and warned of."""
        if self._birth is not None:
            self._birth.kill()
        for step in (self._destroy_cgroups, self._leave_resctrl, self._release_rootfs, self._draft.discard):
            try:
                step()
            except (Failure, OSError) as error:
                self.context.log.warning(f"cleaning up after a failed create: {error}")

    def _destroy_cgroups(self) -> None:
        if self._manager is not None:
            self._manager.destroy()

    def _release_rootfs(self) -> None:
        if self._mounts_before is not None:
            rootfs.release_beyond(root_path(self.config, self.request.bundle), self._mounts_before)

    def _leave_resctrl(self) -> None:
        path, created = self._resctrl
        if path:
            rdt.destroy({"id": self.request.container_id, "intel_rdt_path": path, "intel_rdt_created": created})


def _stream_name(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _entered(bundle: str) -> str:
    """Go to the bundle; returns where that really is, for it may be given by a symlink (runc: utils_linux.go)."""
    with failing(f"chdir {bundle}"):
        os.chdir(bundle)
        return os.getcwd()
