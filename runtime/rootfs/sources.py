"""The sources of bind mounts: what was judged is what is mounted.

Between the decision on a mount and the mount itself, whoever owns a directory on the way can make the path lead
elsewhere, and an engine's user can have something mounted below it. The decision is made in the host's mount
namespace, the mount in the container's, where the kernel clones no mount of another namespace. So the source is
opened once more there, and compared.
"""

from __future__ import annotations

import os
import select

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import mounts
from hookrun.runtime.linux.mountinfo import MountTable, is_within
from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.places import Place

_MOST_TRIES = 64


class Identity:
    """What a judged source is: a file or directory, and the mounts below it that a recursive bind takes along."""

    __slots__ = ("_below", "_file", "_is_above_made_here")

    def __init__(self, place: Place | None, *, recursive: bool, made_here: str = "") -> None:
        """`place` is None where nothing was there: nothing may be mounted then.

        `made_here` is a directory whose mounts do not count: the rootfs, in which the container's are made.
        """
        self._file = place.status.identity if place else None
        self._below: set[tuple[str, str, str]] = set()
        self._is_above_made_here = False
        if place and recursive and place.status.is_directory:
            self._is_above_made_here = bool(made_here) and is_within(made_here, place.path)
            self._below = {
                (mount.device, mount.root, mount.path.removeprefix(place.path))
                for mount in place.table.below(place.status.mount_id, place.path)
                if not (made_here and is_within(mount.path, made_here))
            }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and (self._file, self._below) == (other._file, other._below)

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_alone(self) -> bool:
        """Whether no mount lies below it: then the mount by itself is all that was judged."""
        return not self._below and not self._is_above_made_here

    def is_file_of(self, descriptor: int) -> bool:
        """Whether a descriptor is open on the same file or directory. Raises OSError."""
        status = os.fstat(descriptor)
        return (status.st_dev, status.st_ino) == self._file


def copy(descriptor: int, path: str, *, recursive: bool, judged: Identity, made_here: str = "") -> int:
    """The detached mount of a source that is open as `descriptor`; for `made_here` see `Identity`.

    Raises Failure where the source is not the judged one, OSError.

    A mount may appear or vanish at any time. Where none was below, none is copied. Else what was compared is what was
    copied once the kernel says that there was no change (proc_pid_mounts(5): poll(2) tells of one).
    """
    if not judged.is_file_of(descriptor):
        raise _changed(path)
    if not recursive or judged.is_alone:
        return mounts.copy_tree(descriptor, recursive=False)
    for _ in range(_MOST_TRIES):
        watch = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        try:
            place = places.of(descriptor, MountTable(watch))
            if Identity(place, recursive=recursive, made_here=made_here) != judged:
                raise _changed(path)
            tree = mounts.copy_tree(descriptor, recursive)
            if not _has_changed(watch):
                return tree
            os.close(tree)
        finally:
            os.close(watch)
    raise Failure(f"{path}: the mounts below it change all the time")


def _changed(path: str) -> Failure:
    return Failure(f"{path} is not what the policies judged: it was changed meanwhile")


def _has_changed(watch: int) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLPRI)
    return bool(poll.poll(0))
