"""What statx(2) tells of a descriptor: a file's status, and which mount the file was reached by."""

from __future__ import annotations

import os

from hookrun.runtime.linux.paths import AT_EMPTY_PATH
from hookrun.runtime.linux.syscalls import NR, call

# include/uapi/linux/stat.h
_BASIC_STATS = 0x07FF
_MNT_ID = 0x1000
_ATTR_MOUNT_ROOT = 0x2000
_SIZE = 256

# One buffer for all: what it holds of the last file is read before the next one is asked about.
_buffer = bytearray(_SIZE)
_halves = memoryview(_buffer).cast("H")
_words = memoryview(_buffer).cast("I")
_longs = memoryview(_buffer).cast("Q")

_FORMAT = 0o170000
_DIRECTORY = 0o040000
_BLOCK_DEVICE = 0o060000


class Status:
    """A file's status. `device` and `special` are numbers as stat(2) gives them; `mount_id` is that of mountinfo."""

    __slots__ = ("device", "inode", "is_mount_root", "links", "mode", "mount_id", "special", "uid")

    def __init__(self, descriptor: int) -> None:
        """The status of what a descriptor (O_PATH is enough) is open on. Raises OSError."""
        call(NR.statx, descriptor, b"", AT_EMPTY_PATH, _BASIC_STATS | _MNT_ID, _buffer)
        self.is_mount_root = bool(_longs[1] & _ATTR_MOUNT_ROOT)
        self.links = _words[4]
        self.uid = _words[5]
        self.mode = _halves[14]
        self.inode = _longs[4]
        self.special = os.makedev(_words[32], _words[33])
        """The device that a device's node stands for."""
        self.device = os.makedev(_words[34], _words[35])
        self.mount_id = _longs[18]

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
