"""statx(2) on a descriptor: what stat(2) tells, and which mount the file was reached by."""

from __future__ import annotations

import sys

from hookrun.runtime.linux.paths import AT_EMPTY_PATH
from hookrun.runtime.linux.syscalls import NR, call

# include/uapi/linux/stat.h
_BASIC_STATS = 0x7FF
_MNT_ID = 0x1000
_ATTR_MOUNT_ROOT = 0x2000
_SIZE = 256

_FORMAT = 0o170000
_DIRECTORY = 0o040000
_REGULAR = 0o100000
_BLOCK_DEVICE = 0o060000


class Status:
    """What statx(2) told. `device` and `rdev` are (major, minor); `identity` is the same for one file alone."""

    __slots__ = ("device", "gid", "inode", "is_mount_root", "links", "mode", "mount_id", "rdev", "uid")

    def __init__(self, data: bytes) -> None:
        self.is_mount_root = bool(_number(data, 8, 8) & _ATTR_MOUNT_ROOT)
        self.links = _number(data, 16, 4)
        self.uid = _number(data, 20, 4)
        self.gid = _number(data, 24, 4)
        self.mode = _number(data, 28, 2)
        self.inode = _number(data, 32, 8)
        self.rdev = (_number(data, 128, 4), _number(data, 132, 4))
        self.device = (_number(data, 136, 4), _number(data, 140, 4))
        self.mount_id = _number(data, 144, 8)

    @property
    def identity(self) -> tuple[tuple[int, int], int]:
        return self.device, self.inode

    @property
    def is_directory(self) -> bool:
        return self.mode & _FORMAT == _DIRECTORY

    @property
    def is_regular(self) -> bool:
        return self.mode & _FORMAT == _REGULAR

    @property
    def is_block_device(self) -> bool:
        return self.mode & _FORMAT == _BLOCK_DEVICE


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], sys.byteorder)


def look(descriptor: int) -> Status:
    """The status of what a descriptor (O_PATH is enough) is open on. Raises OSError."""
    buffer = bytearray(_SIZE)
    call(NR.statx, descriptor, b"", AT_EMPTY_PATH, _BASIC_STATS | _MNT_ID, buffer)
    return Status(bytes(buffer))
