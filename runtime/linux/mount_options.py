"""The options of a mount: the spec's table, and what each means to the kernel.

Source: config.md "Linux mount options"; runc: specconv/spec_linux.go.
"""

from __future__ import annotations

from hookrun.runtime.linux import mounts as m

PROPAGATION = {
    "rprivate": m.MS_PRIVATE | m.MS_REC,
    "private": m.MS_PRIVATE,
    "rslave": m.MS_SLAVE | m.MS_REC,
    "slave": m.MS_SLAVE,
    "rshared": m.MS_SHARED | m.MS_REC,
    "shared": m.MS_SHARED,
    "runbindable": m.MS_UNBINDABLE | m.MS_REC,
    "unbindable": m.MS_UNBINDABLE,
}

SETTING = {
    "bind": m.MS_BIND,
    "defaults": 0,
    "dirsync": m.MS_DIRSYNC,
    "iversion": m.MS_I_VERSION,
    "lazytime": m.MS_LAZYTIME,
    "mand": m.MS_MANDLOCK,
    "noatime": m.MS_NOATIME,
    "nodev": m.MS_NODEV,
    "nodiratime": m.MS_NODIRATIME,
    "noexec": m.MS_NOEXEC,
    "nosuid": m.MS_NOSUID,
    "nosymfollow": m.MS_NOSYMFOLLOW,
    "rbind": m.MS_BIND | m.MS_REC,
    "relatime": m.MS_RELATIME,
    "remount": m.MS_REMOUNT,
    "ro": m.MS_RDONLY,
    "silent": m.MS_SILENT,
    "strictatime": m.MS_STRICTATIME,
    "sync": m.MS_SYNCHRONOUS,
}

CLEARING = {
    "async": m.MS_SYNCHRONOUS,
    "atime": m.MS_NOATIME,
    "dev": m.MS_NODEV,
    "diratime": m.MS_NODIRATIME,
    "exec": m.MS_NOEXEC,
    "loud": m.MS_SILENT,
    "noiversion": m.MS_I_VERSION,
    "nolazytime": m.MS_LAZYTIME,
    "nomand": m.MS_MANDLOCK,
    "norelatime": m.MS_RELATIME,
    "nostrictatime": m.MS_STRICTATIME,
    "rw": m.MS_RDONLY,
    "suid": m.MS_NOSUID,
    "symfollow": m.MS_NOSYMFOLLOW,
}

RECURSIVE_SETTING = {
    "rro": m.ATTR_RDONLY,
    "rnosuid": m.ATTR_NOSUID,
    "rnodev": m.ATTR_NODEV,
    "rnoexec": m.ATTR_NOEXEC,
    "rnodiratime": m.ATTR_NODIRATIME,
    "rrelatime": m.ATTR_RELATIME,
    "rnoatime": m.ATTR_NOATIME,
    "rstrictatime": m.ATTR_STRICTATIME,
    "rnosymfollow": m.ATTR_NOSYMFOLLOW,
}

RECURSIVE_CLEARING = {
    "rrw": m.ATTR_RDONLY,
    "rsuid": m.ATTR_NOSUID,
    "rdev": m.ATTR_NODEV,
    "rexec": m.ATTR_NOEXEC,
    "rdiratime": m.ATTR_NODIRATIME,
    "rnorelatime": m.ATTR_RELATIME,
    "ratime": m.ATTR_NOATIME,
    "rnostrictatime": m.ATTR_STRICTATIME,
    "rsymfollow": m.ATTR_NOSYMFOLLOW,
}

COPY_UP = "tmpcopyup"
IDMAP = "idmap"
RIDMAP = "ridmap"

_ATIME_FLAGS = m.MS_NOATIME | m.MS_RELATIME | m.MS_STRICTATIME
ALL_ATIME_FLAGS = _ATIME_FLAGS | m.MS_NODIRATIME
LOCKABLE_FLAGS = m.MS_RDONLY | m.MS_NODEV | m.MS_NOEXEC | m.MS_NOSUID | ALL_ATIME_FLAGS
"""What the kernel locks on a mount that came from a more privileged user namespace (its MNT_LOCK_ flags)."""

_PLAIN_ATTRIBUTES = (
    (m.MS_RDONLY, m.ATTR_RDONLY),
    (m.MS_NOSUID, m.ATTR_NOSUID),
    (m.MS_NODEV, m.ATTR_NODEV),
    (m.MS_NOEXEC, m.ATTR_NOEXEC),
    (m.MS_NOSYMFOLLOW, m.ATTR_NOSYMFOLLOW),
)
_SETTABLE = sum(bit for _, bit in _PLAIN_ATTRIBUTES)

# Flags that belong to the file system and not to one mount of it, as fsconfig(2) names them.
_FILESYSTEM_FLAGS = (
    (m.MS_RDONLY, "ro"),
    (m.MS_SYNCHRONOUS, "sync"),
    (m.MS_DIRSYNC, "dirsync"),
    (m.MS_LAZYTIME, "lazytime"),
    (m.MS_MANDLOCK, "mand"),
)

# include/linux/statfs.h
_STATFS_FLAGS = (
    (0x0001, m.MS_RDONLY),
    (0x0002, m.MS_NOSUID),
    (0x0004, m.MS_NODEV),
    (0x0008, m.MS_NOEXEC),
    (0x0010, m.MS_SYNCHRONOUS),
    (0x0040, m.MS_MANDLOCK),
    (0x0400, m.MS_NOATIME),
    (0x0800, m.MS_NODIRATIME),
    (0x1000, m.MS_RELATIME),
    (0x2000, m.MS_NOSYMFOLLOW),
)

_NAMES = {name: value for name, value in vars(m).items() if name.startswith("MS_")}


class Options:
    """A mount's options, sorted by what they act on."""

    __slots__ = ("cleared", "copy_up", "data", "flags", "idmap", "propagation", "recursive_clear", "recursive_set")

    def __init__(self, options: list[str]) -> None:
        self.flags = 0
        """MS_ flags that are set."""
        self.cleared = 0
        """MS_ flags that were asked to be off."""
        self.propagation: list[int] = []
        self.recursive_set = 0
        """ATTR_ bits for the mount and all below it."""
        self.recursive_clear = 0
        self.copy_up = False
        self.idmap = ""
        """"idmap" or "ridmap"."""
        self.data: list[str] = []
        """The file system's own options."""
        for option in options:
            self._take(option)

    def _take(self, option: str) -> None:
        if option in SETTING:
            self.flags |= SETTING[option]
            self.cleared &= ~SETTING[option]
        elif option in CLEARING:
            self.flags &= ~CLEARING[option]
            self.cleared |= CLEARING[option]
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in RECURSIVE_SETTING:
            self._take_recursive(RECURSIVE_SETTING[option], 0)
        elif option in RECURSIVE_CLEARING:
            self._take_recursive(0, RECURSIVE_CLEARING[option])
        elif option == COPY_UP:
            self.copy_up = True
        elif option in (IDMAP, RIDMAP):
            self.idmap = option
        else:
            self.data += filter(None, option.split(",")) if '"' not in option and "\\" not in option else [option]

    def _take_recursive(self, setting: int, clearing: int) -> None:
        self.recursive_set = (self.recursive_set | setting) & ~clearing
        self.recursive_clear = (self.recursive_clear | clearing) & ~setting
        # mount_setattr(2) changes the access times as one field, which has to be cleared as a whole. A bit of 0 is
        # relatime, so "no bit outside the field" is what tells the access times from the rest.
        if not (setting | clearing) & ~m.ATTR_ATIME:
            self.recursive_clear |= m.ATTR_ATIME

    @property
    def has_recursive(self) -> bool:
        return bool(self.recursive_set | self.recursive_clear)


def attributes(flags: int) -> int:
    """The ATTR_ bits that MS_ flags stand for, as mount(2) reads them: strictatime wins, and relatime is usual."""
    found = sum(bit for flag, bit in _PLAIN_ATTRIBUTES if flags & flag)
    if flags & m.MS_NODIRATIME:
        found |= m.ATTR_NODIRATIME
    if flags & m.MS_STRICTATIME:
        return found | m.ATTR_STRICTATIME
    return found | (m.ATTR_NOATIME if flags & m.MS_NOATIME else m.ATTR_RELATIME)


def change(flags: int) -> tuple[int, int]:
    """The ATTR_ bits to set and to clear so that a mount has these MS_ flags and no others.

    Access times stay as they are where no flag speaks of them (mount(2), MS_REMOUNT | MS_BIND).
    """
    wanted = attributes(flags)
    clear = _SETTABLE
    if flags & ALL_ATIME_FLAGS:
        clear |= m.ATTR_ATIME | m.ATTR_NODIRATIME
        return wanted, (clear & ~wanted) | m.ATTR_ATIME
    wanted &= _SETTABLE
    return wanted, clear & ~wanted


def filesystem_options(flags: int) -> list[str]:
    """fsconfig(2)'s words for the MS_ flags that belong to the file system."""
    return [word for flag, word in _FILESYSTEM_FLAGS if flags & flag]


def flags_of_statfs(found: int) -> int:
    """The MS_ flags of a mount with these statfs flags; strictatime is the want of the other access time flags."""
    flags = sum(flag for bit, flag in _STATFS_FLAGS if found & bit)
    return flags if flags & _ATIME_FLAGS else flags | m.MS_STRICTATIME


def names(flags: int) -> str:
    """MS_ flags for an error message: `MS_RDONLY|MS_BIND`."""
    return "|".join(name for name, value in _NAMES.items() if flags & value)
