"""The container's first process, from its clone to execve, in the order of runc's standard_init_linux.go."""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.container import hooks
from hookrun.runtime.documents import Config
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import attributes, files, lsm, memory, namespaces, network
from hookrun.runtime.linux.syscalls import NR, call
from hookrun.runtime.log import Log
from hookrun.runtime.process import channel, init
from hookrun.runtime.process.channel import Message
from hookrun.runtime.process.init import Init
from hookrun.runtime.process.spawn import Namespaces
from hookrun.runtime.rootfs import rootfs
from hookrun.runtime.rootfs.cgroup_mounts import CgroupMounts
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.spec.hooks import STATUSES, of_stage
from hookrun.runtime.spec.sections import namespace_paths

_SOON_MILLISECONDS = 50
CALLS_WHILE_WAITING = (*memory.CALLS, "close", "poll", "ppoll")
_ENDING = tuple(map(int, (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What only a container's first process takes, besides `init.Plan`."""

    shared: init.Plan
    bundle: str
    config: Config
    log: Log
    namespaces: Namespaces
    no_pivot: bool
    hook_state: dict[str, Any]
    judged: Judged
    sources: dict[int, int]
    """Descriptors of the mounts' sources that the parent opened, by the mount's place in the config."""
    cgroup_mounts: CgroupMounts
    fifo: int
    entrance: Entrance
    spare: memory.Spare | None
    """What the process gives back while it waits for `start`."""
    may_spare_later: bool
    """Whether the process can do so once it has its filter."""

    def close(self) -> None:
        """Called in the parent, once the child has all this."""
        self.entrance.close()
        os.close(self.fifo)
        for descriptor in self.sources.values():
            os.close(descriptor)
        if self.shared.console is not None:
            os.close(self.shared.console)
        self.namespaces.close()


class StandardInit(Init):
    """The first process's half."""

    __slots__ = ("config", "container", "kinds")

    def __init__(self, plan: Plan, line: channel.ChildLine) -> None:
        super().__init__(plan.shared, line)
        self.container = plan
        self.config = plan.config
        self.kinds = namespace_paths(plan.config)
        self.kept = (plan.fifo,)
        if plan.spare is not None:
            plan.spare.find_pages()
            self.kept += plan.spare.descriptors

    def enter_container(self) -> None:
        # The kernel keeps signals without a handler from the first process of a pid namespace.
        for number in _ENDING:
            signal.signal(number, _end)
        self._enter_namespaces()
        self.note("child process in init()")
        self.join_keyring()
        if self.container.namespaces.is_new("network"):
            network.bring_loopback_up()
        filesystem = self._prepare_rootfs()
        self.open_console(filesystem.mount_console)
        self._finish_rootfs(filesystem)

    def _enter_namespaces(self) -> None:
        init.enter_cgroups(self.container.entrance, self.line)
        attributes.reset_cpu_affinity()
        if "user" in self.kinds:
            if self.container.namespaces.is_new("user") and not self._is_mapped():
                self.line.ask(Message.MAPPINGS)
            self.become_root()
        self.hide()
        late = self.container.namespaces.at_root()
        if late:
            namespaces.unshare(late)

    def _is_mapped(self) -> bool:
        """Whether the intermediate process had the maps written already."""
        with open("/proc/self/uid_map", "rb", buffering=0) as file:
            return bool(file.read(1))

    def _prepare_rootfs(self) -> rootfs.Rootfs:
        """The rootfs, entered."""
        plan = self.container
        filesystem = rootfs.prepare(self.config, plan.bundle, plan.sources, plan.judged, plan.cgroup_mounts, plan.log)
        # Now that devices are made, the parent restricts them and sets the limits; before, the way to them would be
        # closed for a moment. It also moves devices in and runs the prestart and createRuntime hooks.
        self.line.ask(Message.PREPARED)
        os.fchdir(filesystem.root)
        self._run_hooks("createContainer")
        filesystem.enter(no_pivot=plan.no_pivot)
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
        state = {**self.container.hook_state, "status": STATUSES[stage], "pid": os.getpid()}
        hooks.run_stage(self.config, stage, state, self._report_hook, self.process.get("env"))

    def _report_hook(self, result: dict[str, Any]) -> None:
        self.line.tell(Message.HOOK_RESULT, jsonio.dumps(result))

    def _finish_rootfs(self, filesystem: rootfs.Rootfs) -> None:
        filesystem.finalize()
        self._set_names()
        self._apply_apparmor()
        rootfs.apply_sysctls(self.config)
        filesystem.restrict_paths()

    def _set_names(self) -> None:
        for what, number, name in (
            ("sethostname", NR.sethostname, self.config.get("hostname")),
            ("setdomainname", NR.setdomainname, self.config.get("domainname")),
        ):
            if name:
                encoded = name.encode()
                with failing(f"{what} {name}"):
                    call(number, encoded, len(encoded))

    def _apply_apparmor(self) -> None:
        profile = self.process.get("apparmorProfile")
        if profile:
            try:
                lsm.apply_apparmor(profile)
            except Failure as failure:
                raise Failure(f"unable to apply apparmor profile: {failure.text}") from None

    def save_memory(self) -> None:
        if not self.container.may_spare_later:
            self._give_back()

    def _give_back(self) -> None:
        if self.container.spare is not None:
            self.container.spare.give_back()

    def leave_parent(self, variables: dict[bytes, bytes]) -> None:
        self.note("init: closing the pipe to signal completion")
        self.line.ask(Message.FINISHED)
        self.line.close()
        self._wait_for_start()
        self._run_start_hooks(variables)

    def _wait_for_start(self) -> None:
        """Block until `start` writes into the exec fifo.

        The fifo is open for writing here too, so that a `start` that is killed half-way does not end the wait. It
        stays open up to execve, whose success `start` sees by that. Most containers are started at once: only one that
        is not gives memory back.
        """
        if self.container.may_spare_later and not self._is_started_soon():
            self._give_back()
        os.read(self.container.fifo, 1)

    def _is_started_soon(self) -> bool:
        poll = select.poll()
        poll.register(self.container.fifo, select.POLLIN)
        return bool(poll.poll(_SOON_MILLISECONDS))

    def _run_start_hooks(self, variables: dict[bytes, bytes]) -> None:
        stage = "startContainer"
        if of_stage(self.config, stage):
            state = {**self.container.hook_state, "status": STATUSES[stage], "pid": os.getpid()}
            env = [os.fsdecode(name + b"=" + value) for name, value in variables.items()]
            hooks.run_stage(self.config, stage, state, lambda result: None, env)


def _end(number: int, frame: object) -> NoReturn:
    """What a signal does to a container that waits for `start`."""
    os._exit(128 + number)
