"""What stat(2) tells of a descriptor, and what only statx(2) does: which mount the file was reached by."""

from __future__ import annotations

import sys

from hookrun.runtime.linux import os
from hookrun.runtime.linux.paths import AT_EMPTY_PATH
from hookrun.runtime.linux.syscalls import NR, call

# include/uapi/linux/stat.h
_MNT_ID = 0x1000
_ATTR_MOUNT_ROOT = 0x2000
_SIZE = 256
_ATTRIBUTES_AT = slice(8, 16)
_MNT_ID_AT = slice(144, 152)

_FORMAT = 0o170000
_DIRECTORY = 0o040000
_BLOCK_DEVICE = 0o060000


class Status:
    """A file's status: `stat` is os.stat's; `mount_id` is that of mountinfo."""

    __slots__ = ("is_mount_root", "mount_id", "stat")

    def __init__(self, descriptor: int) -> None:
        """The status of what a descriptor (O_PATH is enough) is open on. Raises OSError."""
        self.stat = os.fstat(descriptor)
        buffer = bytearray(_SIZE)
        call(NR.statx, descriptor, b"", AT_EMPTY_PATH, _MNT_ID, buffer)
        self.mount_id = int.from_bytes(buffer[_MNT_ID_AT], sys.byteorder)
        self.is_mount_root = bool(int.from_bytes(buffer[_ATTRIBUTES_AT], sys.byteorder) & _ATTR_MOUNT_ROOT)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for one file alone."""
        return self.stat.st_dev, self.stat.st_ino

    @property
    def is_directory(self) -> bool:
        return self.stat.st_mode & _FORMAT == _DIRECTORY

    @property
    def is_block_device(self) -> bool:
        return self.stat.st_mode & _FORMAT == _BLOCK_DEVICE
