"""`create`: from a checked config to a process that waits for `start` (runc: process_linux.go, initProcess)."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import choice, rdt
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.container import container, hooks, notify
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.documents import Resources, SavedState
from hookrun.runtime.errors import Failure, failing
from hookrun.runtime.linux import memory, namespaces, pids, seccomp
from hookrun.runtime.process import channel, handover, mappings, net_devices, parent, spawn, standard_init
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.parent import Parent
from hookrun.runtime.process.spawn import ChildProcess
from hookrun.runtime.rootfs import cgroup_mounts, host_mounts, rootfs
from hookrun.runtime.spec import config as configs
from hookrun.runtime.spec import container_mounts, placement
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


class Request(parent.Request):
    """What the command line says about a new container."""

    __slots__ = ("bundle", "container_id", "no_new_keyring", "no_pivot", "waits")

    def __init__(self, options: Options, container_id: str, *, detach: bool, waits: bool = False) -> None:
        """Read the options of `create`, `run` and `restore`; of these, `create` leaves a process that `waits`."""
        super().__init__(options, detach=detach)
        self.waits = waits
        self.container_id = container_id
        self.bundle = os.path.abspath(options["bundle"] or ".")
        self.no_pivot: bool = options["no-pivot"]
        self.no_new_keyring: bool = options.get("no-new-keyring") or False


class Creation(Parent):
    """One container in the making, and how to undo what has been made."""

    __slots__ = ("_child", "_draft", "_manager", "_mounts_before", "_resctrl", "config")

    request: Request

    def __init__(self, context: Context, request: Request) -> None:
        """Read and check everything that can be checked before anything is made. Raises Failure."""
        self._child: ChildProcess | None = None
        self._manager: Manager | None = None
        self._resctrl = ("", False)
        self._mounts_before: int | None = None
        request.bundle = _enter(request.bundle)
        found = context.config if context.config is not None else configs.read(request.bundle)
        self.config = configs.check(found)
        container.check_id(request.container_id)
        configs.check_rootfs(root_path(self.config, request.bundle))
        container_mounts.check(self.config, request.bundle, context.log, no_pivot=request.no_pivot)
        for warning in placement.warnings(linux(self.config)):
            context.log.warning(warning)
        process = self.config["process"]
        listening = handover.listen_descriptors()
        super().__init__(context, request, process, linux(self.config), listening)
        if listening:
            process["env"] = [*(process.get("env") or []), f"LISTEN_FDS={listening}", "LISTEN_PID=1"]
        self._draft = container_directory.Draft(context.root, request.container_id)

    def notify_proxy(self) -> notify.Proxy | None:
        """The container's socket for sd_notify, where the caller has one."""
        host = os.getenv("NOTIFY_SOCKET")
        if not host:
            return None
        return notify.Proxy(self._draft.directory, host)

    def run(self) -> tuple[Container, ChildProcess]:
        """Make the container; its process waits for `start`. Raises Failure, with everything undone."""
        try:
            self._share_notify_socket()
            finished = self._make()
        except BaseException:
            self.undo()
            raise
        assert self._child is not None
        return finished, self._child

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
        self._child = self._clone(plan)
        self.context.phase("clone")
        self.note_clone(self._child)
        return self._attend_until_finished(self._child, plan, manager)

    def _make_cgroups(self) -> Manager:
        manager = choice.for_config(
            self.config,
            self.request.container_id,
            systemd=self.context.systemd_cgroup,
            rootless_ignore=self.context.ignores_cgroup_errors(),
            log=self.context.log,
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
            self.warn(_NOTHING_TO_KILL_BY)
        return manager

    def _oci_version(self) -> str:
        return self.config.get("ociVersion") or ""

    def _set_limits(self, manager: Manager) -> None:
        try:
            manager.apply(self._resources())
        except Failure as failure:
            raise self._init_error(f"error setting cgroup config for procHooks process: {failure.text}") from None

    def _resources(self) -> Resources:
        return linux(self.config).get("resources") or {}

    def _plan(self, manager: Manager) -> standard_init.Plan:
        context, request = self.context, self.request
        filter_ = linux(self.config).get("seccomp")
        wanted = spawn.Namespaces(self.config, context.judged.namespaces)
        # An ordinary user's hookrun has to look into it itself, for the seccomp agent and for an `exec` before `start`;
        # and in namespaces that nobody else is in there is nobody to hide from (runc: nsexec.c).
        is_hidden = os.geteuid() == 0 or bool(wanted.joined)
        return standard_init.Plan(
            shared=self._shared_plan(request.container_id, keyring=not request.no_new_keyring, is_hidden=is_hidden),
            bundle=request.bundle,
            config=self.config,
            log=context.log,
            namespaces=wanted,
            no_pivot=request.no_pivot,
            hook_state=self._oci_state("creating", 0),
            judged=context.judged,
            sources=host_mounts.open_sources(self.config, request.bundle, context.judged, context.log),
            cgroup_mounts=cgroup_mounts.plan(self.config, manager.paths),
            fifo=self._draft.make_exec_fifo(),
            entrance=manager.entrance(),
            spare=memory.Spare() if request.waits else None,
            may_spare_later=request.waits and seccomp.allows(filter_, standard_init.CALLS_WHILE_WAITING),
        )

    def _oci_state(self, status: str, pid: int) -> dict[str, Any]:
        return container.oci_state(
            self.request.container_id, status, pid, self.request.bundle, self.config.get("annotations") or {}
        )

    def agent_state(self, pid: int) -> dict[str, Any]:
        return self._oci_state("creating", pid)

    @staticmethod
    def _clone(plan: standard_init.Plan) -> ChildProcess:
        def main(line: channel.ChildLine) -> NoReturn:
            standard_init.StandardInit(plan, line).run()

        try:
            return spawn.clone_into(plan.namespaces, plan.entrance, main)
        finally:
            plan.close()

    def _attend_until_finished(self, child: ChildProcess, plan: standard_init.Plan, manager: Manager) -> Container:
        """Do our part until the child is ready to wait for `start`.

        The child goes on to wait only once the state is written: before, the end of this process ends it too.
        Raises Failure.
        """
        self._draft.keep_config(self.config)

        def prepare(text: str) -> None:
            self._set_limits(manager)
            self._before_pivot(child)

        message = self._attend(
            child,
            plan.entrance,
            {
                Message.MAPPINGS: lambda text: mappings.write(self.config, child.pid),
                Message.PREPARED: prepare,
                Message.HOOK_RESULT: self._note_hook_text,
            },
        )
        if message is not Message.FINISHED:
            raise self._init_error(self._how_it_ended(child))
        finished = self._finish(child, manager)
        child.line.answer()
        self.context.phase("finish")
        return finished

    def make_ready(self, child: ChildProcess) -> None:
        super().make_ready(child)
        self.context.phase("init")

    def failure(self, text: str) -> Failure:
        # What goes wrong once the child is ready is about the process itself; runc has no preamble for it.
        return super().failure(text) if self._is_ready else self._init_error(text)

    def _before_pivot(self, child: ChildProcess) -> None:
        """What runc's parent does at procHooks: devices moved in, the hooks of the runtime's namespaces run."""
        if linux(self.config).get("netDevices"):
            net_devices.move_in(linux(self.config)["netDevices"], child.pid)
        if linux(self.config).get("intelRdt"):
            self._resctrl = rdt.join(self.config, self.request.container_id, child.pid)
        for stage in ("prestart", "createRuntime"):
            if of_stage(self.config, stage):
                self._run_hooks(stage, child.pid)

    def _run_hooks(self, stage: str, pid: int) -> None:
        state = self._oci_state(STATUSES[stage], pid)
        try:
            hooks.run_stage(self.config, stage, state, self.context.hook_results.append)
        except Failure as failure:
            raise self._init_error(failure.text) from None

    def _note_hook_text(self, text: str) -> None:
        self.context.hook_results.append(jsonio.loads(text))

    @staticmethod
    def _init_error(text: str) -> Failure:
        return Failure(f"unable to start container process: error during container init: {text}")

    def _how_it_ended(self, child: ChildProcess) -> str:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        except ChildProcessError:
            return "the process ended"
        if self._manager is not None and self._manager.oom_kill_count():
            return "container init was OOM-killed (memory limit too low?)"
        return f"the process ended with status {status}" if status >= 0 else f"signal {-status} killed the process"

    def _finish(self, child: ChildProcess, manager: Manager) -> Container:
        """Write the state, last of all: from then on it is a container."""
        self._hand_over(child)
        return self._draft.finish(self._state(manager, child.pid, pids.stat(child.pid)[1]))

    def _state(self, manager: Manager, pid: int, started: int) -> SavedState:
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
                    systemd=self.context.systemd_cgroup,
                    rootless_ignore=manager.rootless,
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
        if self._child is not None:
            self._child.kill()
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


def _enter(bundle: str) -> str:
    """Go to the bundle; returns where that really is, for it may be given by a symlink (runc: utils_linux.go)."""
    with failing(f"chdir {bundle}"):
        os.chdir(bundle)
        return os.getcwd()
