"""The sealed program: what enters a container must not be writable from there (CVE-2019-5736).

`/proc/self/exe` of everything that enters is hookrun-start, or a Python interpreter where hookrun starts cold. A
container that gets hold of it must find it on a read-only mount, or in a memfd that is sealed. `hookctl` prepares the
directory `seal` beside the snapshot with a link to hookrun-start, and gives that link to the launchers as their `#!`.
The first call after boot mounts the program's directory, where it is alone, read-only over `seal` and starts again
from there; all later calls start sealed. If that is impossible, and cold, each call that enters a container starts
again from a memfd.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import mounts
from hookrun.wrapper.ownership import OTHERS_WRITE

NAME = "seal"
PROGRAM = "hookrun-start"

_SELF = "/proc/self/exe"
_ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10  # which Python does not name yet
_SEALING_TRIES = 10
_CHUNK = 1 << 20


def prepare(state: str, program: str) -> None:
    """Make ready the seal in the directory `state` for hookrun-start at the path `program`. Raises OSError.

    Until the first call mounts over it, `seal/hookrun-start` is a link. What another version has mounted there is
    taken away: containers that wait on it keep it.
    """
    os.makedirs(f"{state}/{NAME}", 0o755, exist_ok=True)
    path = f"{state}/{NAME}/{os.path.basename(program)}"
    if os.path.exists(path) and os.path.samestat(os.stat(path), os.stat(program)):
        return
    if os.statvfs(f"{state}/{NAME}").f_flag & os.ST_RDONLY:
        mounts.detach(f"{state}/{NAME}")
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(os.path.abspath(program), path)


def ensure(state: str) -> None:
    """Return if this program is sealed; else replace this process by the same command in one that is.

    `state` is the directory that `prepare` was given. Raises Failure where neither way works: nothing may enter a
    container then.
    """
    try:
        if not is_sealed():
            _start_again(_mounted(state) or _in_memory())
    except OSError as error:
        raise Failure(f"cannot seal {sys.executable} before it enters a container: {reason(error)}") from None


def is_sealed() -> bool:
    """Whether nobody can write to this process's program through /proc/self/exe."""
    return bool(os.statvfs(_SELF).f_flag & os.ST_RDONLY) or _has_seals()


def _has_seals() -> bool:
    descriptor = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _ALL_SEALS == _ALL_SEALS
    except OSError:  # not a memfd
        return False
    finally:
        os.close(descriptor)


def _start_again(program: int) -> None:
    """Execute the same command line in another copy of the program; without what LD_PRELOAD and the like ask for.

    argv[0] stays: a Python finds its library by it.
    """
    environment = {name: value for name, value in os.environb.items() if not name.startswith(b"LD_")}
    os.execve(program, [os.fsencode(word) for word in sys.orig_argv], environment)


def _mounted(state: str) -> int | None:
    """The program on the seal's read-only mount, which is made if it is not there; None if there can be none."""
    if os.path.basename(os.readlink(_SELF)) != PROGRAM:  # a Python's directory is everybody's
        return None
    try:
        directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # hookctl has registered nothing here
        return None
    try:
        if not _is_roots_alone(directory) or not os.path.isdir(f"{state}/{NAME}"):
            return None
        fcntl.flock(directory, fcntl.LOCK_EX)  # of several calls right after boot, one mounts
        found = _on_seal(state)
        if found is None:
            _mount_seal(state)
            found = _on_seal(state)
        return found
    except OSError:  # no right to mount, or a kernel without the new mount interface
        return None
    finally:
        os.close(directory)


def _is_roots_alone(directory: int) -> bool:
    status = os.fstat(directory)
    return status.st_uid == 0 and not status.st_mode & OTHERS_WRITE


def _on_seal(state: str) -> int | None:
    """A descriptor of this very program on the seal, if that is read-only."""
    try:
        descriptor = os.open(f"{state}/{NAME}/{PROGRAM}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY and os.path.samestat(os.fstat(descriptor), os.stat(_SELF)):
        return descriptor
    os.close(descriptor)
    return None


def _mount_seal(state: str) -> None:
    tree = mounts.open_tree(os.path.dirname(os.readlink(_SELF)), False)
    target = os.open(f"{state}/{NAME}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attributes = mounts.ATTR_RDONLY | mounts.ATTR_NOSUID | mounts.ATTR_NODEV
        mounts.set_attributes(tree, attributes, 0, propagation=mounts.MS_PRIVATE)
        mounts.attach(tree, target)
    finally:
        os.close(target)
        os.close(tree)


def _in_memory() -> int:
    """A sealed copy of the program in memory.

    The kernel refuses to seal pages that something else still refers to (EBUSY, fcntl(2)), as it may for a moment on
    a busy machine: a new copy has new pages.
    """
    for _ in range(_SEALING_TRIES - 1):
        try:
            return _sealed_copy()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
    return _sealed_copy()


def _sealed_copy() -> int:
    source = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
    copy = _memory_file()
    try:
        while part := os.read(source, _CHUNK):
            os.write(copy, part)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _ALL_SEALS)
    except OSError:
        os.close(copy)
        raise
    finally:
        os.close(source)
    return copy


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("hookrun", flags | _MFD_EXEC)
    except OSError:  # before Linux 6.3, where all of them could be executed
        return os.memfd_create("hookrun", flags)
