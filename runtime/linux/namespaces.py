"""Namespaces: which there are, entering new ones by clone3 and existing ones by setns.

Sources: namespaces(7), clone(2), setns(2); config-linux.md for the spec's names.
"""

from __future__ import annotations

import os

from hookrun.runtime.linux import imports
from hookrun.runtime.linux.syscalls import NR, address, call

CLONE_PARENT = 0x00008000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000
NEWTIME = 0x00000080
NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

# In the order in which they are joined: the user namespace gives the rights for the others, the mount namespace
# comes last because it takes away the paths.
FLAGS = {
    "user": NEWUSER,
    "ipc": NEWIPC,
    "uts": NEWUTS,
    "network": NEWNET,
    "pid": NEWPID,
    "cgroup": NEWCGROUP,
    "time": NEWTIME,
    "mount": NEWNS,
}
PROC_NAMES = {
    "user": "user",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "cgroup": "cgroup",
    "time": "time",
    "mount": "mnt",
}

_SIGCHLD = 17
_CLONE_ARGS_SIZE = 88


def clone(flags: int, cgroup: int | None = None) -> tuple[int, int]:
    """Fork by clone3 into the namespaces of `flags`, and into the cgroup v2 whose directory is open as `cgroup`.

    Returns the child's pid and a pidfd of it; (0, -1) in the child, which can import nothing any more. The interpreter
    must have one thread.
    Raises OSError.
    """
    pidfd = bytearray(4)
    fields = [0] * (_CLONE_ARGS_SIZE // 8)
    fields[0] = flags | CLONE_PIDFD
    fields[1] = address(pidfd)
    # The kernel takes no exit signal together with CLONE_PARENT: the child's is then the caller's own.
    fields[4] = 0 if flags & CLONE_PARENT else _SIGCHLD
    if cgroup is not None:
        fields[0] |= CLONE_INTO_CGROUP
        fields[10] = cgroup
    packed = b"".join(field.to_bytes(8, "little") for field in fields)
    pid = call(NR.clone3, packed, _CLONE_ARGS_SIZE)
    if not pid:
        imports.close()
        return 0, -1
    return pid, int.from_bytes(pidfd, "little")


def unshare(flags: int) -> None:
    """unshare(2); nothing can be imported any more. Raises OSError."""
    imports.close()
    call(NR.unshare, flags)


def join(descriptor: int, flags: int) -> None:
    """setns(2): join one namespace by its descriptor, or several by a pidfd; nothing can be imported any more.

    Raises OSError.
    """
    imports.close()
    call(NR.setns, descriptor, flags)


_WHOLE_RANGE = ["0", "0", "4294967295"]


def is_same(first: str, second: str) -> bool:
    """Whether two namespace files are of one namespace. Raises OSError where one is missing."""
    one, other = os.stat(first), os.stat(second)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the host's first one."""
    try:
        descriptor = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a kernel without user namespaces
        return False
    try:
        return os.read(descriptor, 4096).decode().split() != _WHOLE_RANGE
    finally:
        os.close(descriptor)
