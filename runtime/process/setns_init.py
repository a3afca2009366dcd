"""A process that `exec` brings, from the host into the container (runc: setns_init_linux.go)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.documents import Affinity
from hookrun.runtime.errors import failing
from hookrun.runtime.linux import attributes, lsm, namespaces
from hookrun.runtime.process import channel, init, scheduling
from hookrun.runtime.process.init import Init


@dataclass(frozen=True, slots=True)
class Plan:
    """What only a process of `exec` takes, besides `init.Plan`."""

    shared: init.Plan
    namespaces: int
    """The flags of those that the container has of its own."""
    init_pidfd: int
    is_inside: bool
    """Whether the intermediate process has joined them already."""
    affinity: Affinity | None
    root: int | None
    """The container's root, where no mount namespace has it."""
    entrance: Entrance

    def close(self) -> None:
        """Called in the parent, once the child has all this."""
        self.entrance.close()
        if self.shared.console is not None:
            os.close(self.shared.console)


class SetnsInit(Init):
    """The half of a process of `exec`."""

    __slots__ = ("target",)

    def __init__(self, plan: Plan, line: channel.ChildLine) -> None:
        super().__init__(plan.shared, line)
        self.target = plan

    def enter_container(self) -> None:
        # From here to execve nobody in the container may look into this process.
        attributes.set_dumpable(False)
        self._set_affinity("initial")
        if self.plan.is_debugging:
            self.note(f"nsexec[{os.getpid()}]: affinity: {scheduling.affinity_mask()}")
        init.enter_cgroups(self.target.entrance, self.line)
        if not self.target.affinity:
            attributes.reset_cpu_affinity()
        self._enter_namespaces()
        self.note("child process in init()")
        self._set_affinity("final")
        self.join_keyring()
        self.open_console()

    def _enter_namespaces(self) -> None:
        """All at once by the pidfd of the container's first process; the pid namespace the parent has chosen."""
        flags = self.target.namespaces & ~namespaces.NEWPID
        with failing("failed to enter the container's namespaces"):
            if flags and not self.target.is_inside:
                namespaces.join(self.target.init_pidfd, flags)
            if self.target.root is not None:
                os.fchdir(self.target.root)
                os.chroot(".")
        if self.target.namespaces & namespaces.NEWUSER:
            self.become_root()
        self.hide()

    def _set_affinity(self, when: str) -> None:
        if self.target.affinity and self.target.affinity.get(when):
            scheduling.set_affinity(self.target.affinity[when])

    def label(self) -> None:
        profile = self.process.get("apparmorProfile")
        if profile:
            lsm.apply_apparmor(profile)
        super().label()

    def leave_parent(self, variables: dict[bytes, bytes]) -> None:
        self.note("setns_init: about to exec")
        # What the kernel can't execute says so itself: for runc and its callers, exec has worked.
        self.line.close()
