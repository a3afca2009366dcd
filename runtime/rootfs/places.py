"""Where things really lie on this host: the file system, the place in it, and every name that leads there.

A path says little about what it shows: symlinks, `/proc/PID/root`, bind mounts and overlays all lead elsewhere. What
is the same for one directory, however it is reached, is its file system and its path within that (the field `root` of
proc_pid_mountinfo(5), and what follows below the mount).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from hookrun.runtime.linux import filesystems, statx
from hookrun.runtime.linux.mountinfo import MountInfo, MountTable, is_within, joined
from hookrun.runtime.linux.namespaces import in_user_namespace

Area = tuple[str, str]
"""The number of a device, and a path in its file system: all below it belongs to it."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OVERFLOW_UID = 65534
_MOST_LINKS = 40  # path_resolution(7)

# File systems that are made anew, and to which the source is a word of no meaning.
ANEW = ("tmpfs", "ramfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "hugetlbfs", "bpf")
# Those that there are once, however often they are mounted: another mount is another name of what is there.
_SINGLE = ("devtmpfs", "debugfs", "tracefs", "securityfs", "configfs", "efivarfs", "pstore")


class Uncertain(Exception):
    """What a mount shows can't be known: by its own account it may be anything."""


@dataclass(slots=True)
class Place:
    """Something that is there: its path by the mount that it was reached by, without symlinks, and its status."""

    path: str
    status: statx.Status
    table: MountTable
    _mount: MountInfo | None = None
    _inner: str = ""

    @property
    def mount(self) -> MountInfo:
        """Raises Uncertain where it lies in another mount namespace, OSError."""
        if self._mount is None:
            self._mount = self.table.get(self.status.mount_id)
            if self._mount is None or not is_within(self.path, self._mount.path):
                raise Uncertain
        return self._mount

    @property
    def inner(self) -> str:
        """Its path in its file system. Raises as `mount`."""
        if not self._inner:
            self._inner = joined(self.mount.root, self.path[len(self.mount.path.rstrip("/")) :])
        return self._inner


def device_number(device: int) -> str:
    """A device as mountinfo writes it: major:minor."""
    return f"{os.major(device)}:{os.minor(device)}"


def find(path: str, table: MountTable) -> Place:
    """What lies at a path, symlinks followed. Raises OSError, ValueError for one with a null byte."""
    return _place(*statx.of_path(path), table)


def of(descriptor: int, table: MountTable) -> Place:
    """Where what is open as `descriptor` lies. Raises OSError."""
    return _place(*statx.of_descriptor(descriptor), table)


def _place(path: str, status: statx.Status, table: MountTable) -> Place:
    return Place(path if status.links else path.removesuffix(" (deleted)"), status, table)


def names(place: Place) -> list[str]:
    """Every path by which a place can be reached, whatever was bound where. Raises Uncertain, OSError."""
    return [name for _, name in place.table.names(place.mount.device, place.inner)]


def real_names(place: Place) -> list[str]:
    """The path by the mount that shows most of the file system: where a place really is.

    Several where several mounts show as much. Raises Uncertain, OSError.
    """
    return real_names_of(place.mount.device, place.inner, place.table)


def real_names_of(device: str, inner: str, table: MountTable) -> list[str]:
    """`real_names` of a place in a file system. Raises Uncertain where no mount here shows it, OSError."""
    found = table.names(device, inner)
    if not found:
        raise Uncertain
    shortest = min(len(root) for root, _ in found)
    return [name for root, name in found if len(root) == shortest]


def origins(place: Place) -> list[Area]:
    """The file systems that have a place: its own, and those of an overlay's layers as far as known.

    Raises Uncertain, OSError.
    """
    mount = place.mount
    found = [(mount.device, place.inner)]
    for path in _layer_paths(mount) if mount.kind == "overlay" else ():
        try:
            below = origins(find(path, place.table))
        except (OSError, Uncertain):
            continue
        found += [(device, joined(inner, place.inner)) for device, inner in below]
    return found


def areas(place: Place, *, recursive: bool) -> list[Area]:
    """The parts of file systems that a bind of a place shows: all below them is shown too.

    Raises Uncertain, OSError.
    """
    found = _area(place.mount, place.inner, place.table)
    return found + _areas_below(place) if recursive and place.status.is_directory else found


def is_open(place: Place) -> bool:
    """Whether a bind that is a slave or shared would show what others mount below the place later.

    Raises Uncertain, OSError.
    """
    if not place.status.is_directory:
        return False
    return place.mount.propagates or any(mount.propagates for mount in place.table.below(place.mount.id, place.path))


def areas_of_rootfs(place: Place) -> list[Area]:
    """Like `areas`, for a rootfs: an overlay there is the engine's, whose layers nobody else chooses."""
    is_layered = place.mount.kind == "overlay"
    own = origins(place) if is_layered else _area(place.mount, place.inner, place.table)
    return own + _areas_below(place)


def _areas_below(place: Place) -> list[Area]:
    below = place.table.below(place.mount.id, place.path)
    return [area for mount in below for area in _area(mount, mount.root, place.table)]


def _area(mount: MountInfo, inner: str, table: MountTable) -> list[Area]:
    if mount.kind == "proc" and _shows_processes(inner):
        raise Uncertain  # the roots of all processes are below it (proc_pid_root(5))
    found = [(mount.device, inner)]
    for path in _layer_paths(mount) if mount.kind == "overlay" else ():
        layer = settled(path, table)
        found += [(device, joined(below, inner)) for device, below in _area(layer.mount, layer.inner, table)]
    return found


def _shows_processes(inner: str) -> bool:
    return inner == "/" or inner.split("/")[1].isdigit()


def _layer_paths(mount: MountInfo) -> Iterator[str]:
    """The paths of an overlay's layers. Relative ones start where engines start them, two levels above the mount.

    Those of the root itself were named in another mount namespace, from which this one was made: they mean nothing.
    """
    if mount.path == "/":
        return
    for path in overlay_layers(mount.super_options):
        yield path if path.startswith("/") else f"{os.path.dirname(os.path.dirname(mount.path))}/{path}"


def overlay_layers(options: list[str]) -> Iterator[str]:
    """The directories that an overlay's options name as what it shows (filesystems/overlayfs.rst)."""
    for option in options:
        key, _, value = option.partition("=")
        if key in ("lowerdir", "lowerdir+", "datadir+", "upperdir"):
            for path in _split_at_colons(value) if key == "lowerdir" else [value]:
                if path:
                    yield path


def _split_at_colons(value: str) -> list[str]:
    parts = value.replace("\\\\", "\0").replace("\\:", "\1").split(":")
    return [part.replace("\0", "\\").replace("\1", ":") for part in parts]


def settled(path: str, table: MountTable) -> Place:
    """What lies at a path that root alone can make lead elsewhere. Raises Uncertain for another path, OSError."""
    if not is_settled(path):
        raise Uncertain
    return find(path, table)


def is_settled(path: str) -> bool:
    """Whether a path leads there for every process, and root and this user alone can change that. Raises OSError."""
    directory, links = "/", 0
    left = path.split("/")[::-1]
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            directory = os.path.dirname(directory)
            continue
        entry = os.path.join(directory, part)
        status = os.lstat(entry)
        if not _is_kept(os.stat(directory), status):
            return False
        if not stat.S_ISLNK(status.st_mode):
            directory = entry
            continue
        links += 1
        if links > _MOST_LINKS or _is_of_processes(directory):
            return False
        target = os.readlink(entry)
        if target.startswith("/"):
            directory = "/"
        left += target.split("/")[::-1]
    return True


def _is_of_processes(directory: str) -> bool:
    """Whether links in a directory lead elsewhere for each process that follows them: `self`, `cwd`, `fd/3`."""
    descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        return filesystems.type_of(descriptor) == filesystems.PROC
    finally:
        os.close(descriptor)


def _is_kept(directory: os.stat_result, entry: os.stat_result) -> bool:
    """Whether nobody else may put something in an entry's place (inode(7) on the sticky bit)."""
    if not _is_trusted(directory.st_uid):
        return False
    if not directory.st_mode & _OTHERS_WRITE:
        return True
    return bool(directory.st_mode & stat.S_ISVTX) and _is_trusted(entry.st_uid)


def _is_trusted(uid: int) -> bool:
    """A user namespace shows the host's root as nobody where it does not map it (user_namespaces(7))."""
    return uid in (0, os.geteuid()) or (uid == _OVERFLOW_UID and in_user_namespace())


class Filesystem:
    """What a mount of a new file system takes from this host.

    A second mount of a block device, or of a file system that there is once, shows what the first one does; an overlay
    shows its layers.
    """

    __slots__ = ("areas", "devices")

    def __init__(self, kind: str, source: str, options: list[str], directory: str, table: MountTable) -> None:
        """Relative paths start at `directory`. Raises Uncertain, OSError."""
        self.areas: list[Area] = []
        """As `areas` has them."""
        self.devices: list[str] = []
        """The numbers of the block devices that it lies on."""
        if kind == "overlay":
            for path in overlay_layers([part for option in options for part in option.split(",")]):
                layer = settled(os.path.join(directory, path), table)
                self.areas += _area(layer.mount, layer.inner, table)
        elif kind in _SINGLE:
            self.areas += [(mount.device, "/") for mount in table.of_kind(kind)]
        elif kind not in ANEW:
            for path in _sources(source, options, directory):
                self._take(settled(path, table))

    def _take(self, place: Place) -> None:
        if place.status.is_block_device:
            self.devices.append(device_number(place.status.special))
            self.areas.append((self.devices[-1], "/"))
        else:
            self.areas += _area(place.mount, place.inner, place.table)


def _sources(source: str, options: list[str], directory: str) -> list[str]:
    """The paths of the devices and files that a file system is made of: options name some (`logdev=`, `journal_path=`).

    A relative word is a path if there is something; else it is a network's, or a tag.
    """
    found = [value for option in options if (value := option.partition("=")[2]).startswith("/")]
    path = os.path.join(directory, source)
    return [path, *found] if source.startswith("/") or (source and os.path.lexists(path)) else found
