"""What statx(2) tells of a file, which mount it was reached by, and its path by that mount."""

from __future__ import annotations

from typing import NamedTuple

from hookrun.runtime.linux import syscalls

_FORMAT = 0o170000
_DIRECTORY = 0o040000
_BLOCK_DEVICE = 0o060000


class Status(NamedTuple):
    """A file's status, in the order of `locate`'s answer. Devices are numbers as stat(2) gives them."""

    device: int
    inode: int
    links: int
    uid: int
    mode: int
    special: int
    """The device that a device's node stands for."""
    mount_id: int
    """As mountinfo has it."""
    is_mount_root: bool

    @property
    def identity(self) -> tuple[int, int]:
        """The same for one file alone."""
        return self.device, self.inode

    @property
    def is_directory(self) -> bool:
        return self.mode & _FORMAT == _DIRECTORY

    @property
    def is_block_device(self) -> bool:
        return self.mode & _FORMAT == _BLOCK_DEVICE


def of_path(path: str) -> tuple[str, Status]:
    """What lies at a path, symlinks followed: its path without them, its status. Raises OSError, ValueError."""
    found, *status = syscalls.locate(path)
    return found, Status._make(status)


def of_descriptor(descriptor: int) -> tuple[str, Status]:
    """The same of what a descriptor (O_PATH is enough) is open on. Raises OSError."""
    found, *status = syscalls.locate_open(descriptor)
    return found, Status._make(status)
