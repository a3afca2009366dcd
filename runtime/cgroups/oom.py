"""Waiting for the kernel to kill a process of a container for want of memory.

v1 signals an eventfd (the kernel's cgroup-v1/memory.rst, "OOM control"), v2 wakes those who poll memory.events and,
when the last process is gone, cgroup.events (admin-guide/cgroup-v2.rst).
"""

from __future__ import annotations

import os
import select

from hookrun.runtime.cgroups import files
from hookrun.runtime.errors import Failure

_COUNTER_BYTES = 8


class Listener:
    """Tells of kills in one container until its cgroup is gone. Raises Failure where it has no memory cgroup."""

    __slots__ = ("_control", "_descriptors", "_kills", "_path", "_poller", "ended")

    def __init__(self, paths: dict[str, str]) -> None:
        self.ended = False
        """Whether the container's cgroup is gone, or on v2 empty: nothing more will come."""
        self._descriptors: list[int] = []
        self._poller = select.poll()
        self._kills = 0
        self._control = ""
        self._path = paths.get("memory", "")
        if files.is_unified():
            self._path = paths[""]
            self._kills = self._count()
            for name in ("memory.events", "cgroup.events"):
                self._poll(files.open_file(self._path, name, os.O_RDONLY), select.POLLPRI)
        elif self._path:
            self._register()
        else:
            raise Failure("memory controller missing")

    def _poll(self, descriptor: int, event: int) -> None:
        self._descriptors.append(descriptor)
        self._poller.register(descriptor, event)

    def _register(self) -> None:
        control = files.open_file(self._path, "memory.oom_control", os.O_RDONLY)
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._descriptors.append(control)
        self._poll(event, select.POLLIN)
        self._control = f"{self._path}/cgroup.event_control"
        files.write(self._path, "cgroup.event_control", f"{event} {control}")

    def wait(self, seconds: float) -> bool:
        """Whether a process was killed within this time; check `ended` as well."""
        if not self._poller.poll(seconds * 1000):
            return False
        return self._take_event() if self._control else self._take_change()

    def _take_event(self) -> bool:
        os.read(self._descriptors[-1], _COUNTER_BYTES)
        # The end of the cgroup is an event too.
        self.ended = not os.path.exists(self._control)
        return not self.ended

    def _take_change(self) -> bool:
        before, self._kills = self._kills, self._count()
        return self._kills > before

    def _count(self) -> int:
        try:
            self.ended = files.read_pairs(self._path, "cgroup.events").get("populated") == 0
            for descriptor in self._descriptors:
                # Reading is what makes the next poll wait for the next change.
                os.pread(descriptor, 1, 0)
            return files.read_pairs(self._path, "memory.events").get("oom_kill", 0)
        except (files.FileError, OSError):
            self.ended = True
            return self._kills

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
