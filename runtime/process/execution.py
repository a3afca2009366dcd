"""`exec`: one more process in a container's namespaces and cgroups, as its parent brings it in (runc: exec.go)."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from hookrun.runtime.cgroups import rdt
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import namespaces, pids
from hookrun.runtime.process import channel, parent, setns_init, spawn
from hookrun.runtime.process.parent import Parent
from hookrun.runtime.process.spawn import ChildProcess
from hookrun.runtime.spec import process as spec
from hookrun.runtime.spec.sections import linux, namespace_paths


class Request(parent.Request):
    """What the command line says about the new process."""

    __slots__ = ("cgroups",)

    def __init__(self, options: Options) -> None:
        """Raises Failure for a --cgroup that is not CONTROLLER:PATH."""
        super().__init__(options, detach=options["detach"])
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


class Execution(Parent):
    """One process on its way into a container."""

    __slots__ = ("_init_pidfd", "container")

    request: Request

    def __init__(self, context: Context, container: Container, process: dict[str, Any], request: Request) -> None:
        """Check all that can be checked before. Raises Failure."""
        self.container = container
        platform = linux(container.config)
        valid = spec.validate(process)
        spec.check_reach(valid, platform)
        super().__init__(context, request, valid, platform)
        pidfd = pids.open_if_alive(container.init_pid, container.init_start_time)
        if pidfd is None:
            raise Failure("cannot exec in a stopped container")
        self._init_pidfd = pidfd

    def run(self) -> ChildProcess:
        """Start the process; returns just before its execve. Raises Failure, with nothing left running."""
        plan = self._plan()
        self.context.phase("plan")
        child = self._clone(plan)
        self.context.phase("clone")
        self.note_clone(child)
        try:
            self._join_resctrl(child)
            self._attend_until_execve(child, plan)
            self._hand_over(child)
        except BaseException:
            child.kill()
            raise
        self.context.phase("entry")
        return child

    def _oci_version(self) -> str:
        return self.container.state["config"]["oci_version"]

    def agent_state(self, pid: int) -> dict[str, Any]:
        return self.container.oci_state("running")

    def _plan(self) -> setns_init.Plan:
        kinds = namespace_paths(self.container.config)
        return setns_init.Plan(
            shared=self._shared_plan(self.container.id, keyring=True, is_hidden=True),
            namespaces=sum(flag for kind, flag in namespaces.FLAGS.items() if kind in kinds),
            init_pidfd=self._init_pidfd,
            # Without the host's privileges the pid namespace can be entered only from inside the user namespace.
            is_inside=os.geteuid() != 0,
            affinity=self._process.get("execCPUAffinity"),
            root=None if "mount" in kinds else open_root(self.container.init_pid),
            entrance=self._entrance(),
        )

    def _entrance(self) -> Entrance:
        try:
            return self.container.cgroups().entrance(self.request.cgroups or None, self.container.init_pid)
        except Failure as failure:
            raise self.failure(failure.text) from None

    def _clone(self, plan: setns_init.Plan) -> ChildProcess:
        def main(line: channel.ChildLine) -> NoReturn:
            setns_init.SetnsInit(plan, line).run()

        try:
            if plan.is_inside:
                return spawn.join_and_clone(plan.namespaces, self._init_pidfd, plan.entrance, main)
            if plan.namespaces & namespaces.NEWPID:
                namespaces.join(self._init_pidfd, namespaces.NEWPID)
            return spawn.clone(0, plan.entrance, main)
        except OSError as error:
            raise Failure(f"failed to enter the container's pid namespace: {reason(error)}") from None
        finally:
            plan.close()

    def _join_resctrl(self, child: ChildProcess) -> None:
        if self.container.state.get("intel_rdt_path"):
            rdt.enter(self.container.state, child.pid)

    def _attend_until_execve(self, child: ChildProcess, plan: setns_init.Plan) -> None:
        self._attend(child, plan.entrance, {})
        if not self._is_ready:
            raise self.failure("the process ended before it was ready")
        child.line.close()  # the child's end was closed: execve is next


def open_root(pid: int) -> int:
    """A descriptor (O_PATH) of what a process has as its root. Raises Failure."""
    path = f"/proc/{pid}/root"
    with failing(f"open {path}"):
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
