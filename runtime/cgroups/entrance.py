"""The way of one new process into the cgroups of a container.

Moving another process takes a kernel-wide lock and an RCU grace period, 5 to 30 ms. A process that writes "0" to the
v1 `tasks` files itself, and one that clone3(2) makes inside a v2 cgroup (CLONE_INTO_CGROUP), take neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hookrun.runtime.cgroups import files


@dataclass(slots=True)
class Entrance:
    """Descriptors that the parent opens before it clones the child that is to enter."""

    clone_fd: int | None = None
    """Directory of the v2 cgroup, for clone3's CLONE_INTO_CGROUP; None where no v2 cgroup is to be entered."""
    _tasks: list[tuple[int, str]] = field(default_factory=list)
    _admission: Callable[[int], None] | None = None

    def add_v1(self, directories: Iterable[str]) -> None:
        """Have the child enter these v1 cgroups. Raises files.FileError where one can't be opened."""
        for directory in directories:
            try:
                descriptor = files.open_file(directory, "tasks", os.O_WRONLY)
            except files.FileError as error:
                text = f"error adding pid 0 to cgroups: failed to write 0: {error.text}"
                raise files.FileError(text, error.errno) from None
            self._tasks.append((descriptor, f"{directory}/tasks"))

    def add_v2(self, directory: str) -> None:
        """Have the child start in this v2 cgroup. Raises files.FileError where it can't be opened."""
        try:
            self.clone_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            files.fail(f"can't open cgroup: openat2 {directory}", error)

    def add_admission(self, admission: Callable[[int], None]) -> None:
        """Have the child ask its parent to be moved by `admission(pid)`, as systemd demands, before it enters."""
        self._admission = admission

    def needs_admission(self) -> bool:
        """Whether the child has to ask its parent for `admit` before it calls `enter`."""
        return self._admission is not None

    def admit(self, pid: int) -> None:
        """Called in the parent when the child asks for it; raises Failure where the child can't be moved."""
        if self._admission is not None:
            self._admission(pid)

    def enter(self) -> None:
        """Called in the child while it has one thread: move it into its cgroups, and close. Raises Failure."""
        for descriptor, path in self._tasks:
            files.write_open(descriptor, path, "0")
        self.close()

    def close(self) -> None:
        """Close every descriptor; the parent calls it after the clone."""
        descriptors = [descriptor for descriptor, _ in self._tasks]
        if self.clone_fd is not None:
            descriptors.append(self.clone_fd)
        self._tasks, self.clone_fd = [], None
        for descriptor in descriptors:
            os.close(descriptor)
