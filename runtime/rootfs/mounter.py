"""The mounts of a container, each made detached and put into the rootfs by descriptor.

Source: config.md "Mounts"; runc: rootfs_linux.go mountToRootfs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import filesystems, mounts, paths, procfs
from hookrun.runtime.linux import mount_options as options_of
from hookrun.runtime.log import Log
from hookrun.runtime.rootfs import copy_up, host_mounts, mount_flags
from hookrun.runtime.rootfs.cgroup_mounts import CgroupMounts
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.spec.container_mounts import Mount

_VALID_IN_PROC = frozenset(
    f"proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)
"""What lxcfs puts over the kernel's files, and runc lets it (rootfs_linux.go checkProcMount)."""


@dataclass(frozen=True, slots=True)
class RootfsMounter:
    """Makes mounts in one rootfs."""

    root: int
    """A descriptor of the rootfs."""
    rootfs: str
    """Its path."""
    label: str
    """linux.mountLabel."""
    judged: Judged
    cgroup_mounts: CgroupMounts
    log: Log
    read_only_later: list[int] = field(default_factory=list)
    """Mounts to be made read-only when the rootfs is finished, by their roots' descriptors."""

    def mount(self, mount: Mount, line: int | None = None) -> None:
        """Make one mount. `line` leads to the helper that opens its source, if it needs one. Raises Failure."""
        try:
            tree = self._mount(mount, line)
            self._finish(mount, tree)
        except Failure as error:
            raise Failure(f"{_where(mount)}: {error.text}") from None
        except OSError as error:
            raise Failure(f"{_where(mount)}: {_described(mount)}: {reason(error)}") from None
        if mount.is_read_only_later and not mount.is_bind:
            self.read_only_later.append(tree)
        else:
            os.close(tree)

    def make_place(self, mount: Mount) -> None:
        """Make what a mount lies on where it is missing; a bind is mounted too, for what may lie in it.

        Raises Failure.
        """
        if mount.is_bind:
            self.mount(mount)
            return
        try:
            os.close(self._directory(mount))
        except (Failure, OSError) as error:
            text = error.text if isinstance(error, Failure) else reason(error)
            raise Failure(f"{_where(mount)}: {text}") from None

    def _mount(self, mount: Mount, line: int | None) -> int:
        """Make a mount in its place; a descriptor of its root."""
        if mount.is_bind:
            return self._bind(mount, line)
        if mount.kind == "cgroup":
            target = self._directory(mount)
            tree = self.cgroup_mounts.make(mount, target)
            os.close(target)
            return tree
        if mount.options.flags & mounts.MS_REMOUNT or not self._fits_fsconfig(mount):
            return self._mount_by_string(mount)
        if mount.kind == "tmpfs":
            return self._tmpfs(mount)
        target = self._directory(mount)
        return _attach(self._new_filesystem(mount, []), target)

    def _finish(self, mount: Mount, tree: int) -> None:
        """What comes after a mount is in its place: a shared parent has made it shared, the config decides."""
        for propagation in mount.options.propagation:
            mounts.change_propagation(tree, propagation)
        if mount.kind == "mqueue" and self.label:
            os.setxattr(f"/proc/self/fd/{tree}", "security.selinux", self.label.encode() + b"\0")

    def _bind(self, mount: Mount, line: int | None) -> int:
        tree = self._source(mount, line)
        options = mount.options
        mount_flags.apply(tree, options.flags, options.cleared)
        if options.has_recursive:
            mounts.set_attributes(tree, options.recursive_set, options.recursive_clear, recursive=True)
        if mount.origin in self.judged.sources and not options.propagation:
            # It is a slave of the host's mount by default: what is mounted there later would appear, and unjudged.
            mounts.change_propagation(tree, mounts.MS_PRIVATE | mounts.MS_REC)
        place, target = self._find(mount)
        _check_place(place, lambda: filesystems.type_of(tree) == filesystems.PROC)
        if place == "proc" and not procfs.is_root(tree):
            self.log.warning(
                f"bind-mount {mount.destination} (source {mount.source}) is of type procfs but is not the root of one"
            )
        if target is None:
            target = self._make_place(place, is_directory=os.path.isdir(tree))
        return _attach(tree, target)

    def _source(self, mount: Mount, line: int | None) -> int:
        """A bind's source as a detached mount; by way of the helper where there is a line to it. Raises Failure."""
        if line is not None:
            return host_mounts.ask(line, mount, self.judged.sources.get(mount.origin), self.rootfs)
        return host_mounts.open_source(mount, self.judged.sources.get(mount.origin), self.rootfs)

    def _tmpfs(self, mount: Mount) -> int:
        place, target = self._find(mount)
        _check_place(place)
        # A directory that is there gives the tmpfs its mode, unless the config sets another (the last one counts).
        mode = []
        if target is None:
            target = self._make_place(place)
        else:
            mode.append(f"mode={os.fstat(target).st_mode & 0o7777:04o}")
        tree = self._new_filesystem(mount, mode)
        if mount.options.copy_up:
            copy_up.copy_directory(target, tree)
        return _attach(tree, target)

    def _find(self, mount: Mount) -> tuple[str, int | None]:
        """`paths.find` of a mount's destination. Raises Failure where policies judged another place, OSError."""
        place, target = paths.find(self.root, mount.destination)
        judged = self.judged.places.get(mount.destination)
        if judged is not None and place not in judged:
            raise Failure(f"it would be mounted at /{place}, which the policies have not judged")
        return place, target

    def _directory(self, mount: Mount) -> int:
        """What is at a mount's destination, or the directory made there. Raises Failure, OSError."""
        if mount.kind in ("proc", "sysfs"):
            return self._ordinary_directory(mount)
        place, target = self._find(mount)
        _check_place(place)
        return self._make_place(place) if target is None else target

    def _ordinary_directory(self, mount: Mount) -> int:
        """A real directory at the very path that the config names: for procfs and sysfs no symlink is followed."""
        _check_place(mount.place, lambda: mount.kind == "proc")
        try:
            return paths.make_directory(self.root, mount.place)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Failure(f'filesystem "{mount.kind}" must be mounted on ordinary directory') from None
            raise

    def _make_place(self, place: str, *, is_directory: bool = True) -> int:
        """Make the directory, or the empty file, that is mounted over. Raises Failure."""
        make = paths.make_directory if is_directory else paths.make_file
        with failing(f'make mountpoint "/{place}"'):
            return make(self.root, place)

    def _fits_fsconfig(self, mount: Mount) -> bool:
        options = [mount.source, *self._data(mount)]
        return not mount.options.flags & mounts.MS_I_VERSION and mounts.fits_fsconfig(options)

    def _data(self, mount: Mount) -> list[str]:
        """The file system's options; a label for those file systems that keep none for each file."""
        if self.label and mount.kind not in ("proc", "sysfs", "mqueue"):
            return [*mount.options.data, f'context="{self.label}"']
        return mount.options.data

    def _new_filesystem(self, mount: Mount, first: list[str]) -> int:
        """A detached mount of the mount's own file system."""
        flags = _first_flags(mount)
        options = options_of.filesystem_options(flags) + first + self._data(mount)
        try:
            return mounts.new_filesystem(mount.kind, mount.source, options, options_of.attributes(flags))
        except OSError as error:
            if mount.kind != "sysfs" or error.errno != errno.EPERM:
                raise
        # A user namespace without a network namespace of its own may not mount sysfs, only show the host's.
        tree = mounts.open_tree("/sys", recursive=True)
        mounts.set_attributes(tree, options_of.change(flags & ~options_of.ALL_ATIME_FLAGS)[0], recursive=True)
        return tree

    def _mount_by_string(self, mount: Mount) -> int:
        """mount(2), for a remount and for options that fsconfig(2) can't take."""
        target = self._directory(mount)
        mounts.mount(mount.source, target, mount.kind, _first_flags(mount), ",".join(self._data(mount)))
        os.close(target)
        return paths.open_plain(self.root, paths.plain(self.root, mount.destination))


def _attach(tree: int, target: int) -> int:
    """Put a detached mount in its place; closes the place and gives the mount back."""
    mounts.attach(tree, target)
    os.close(target)
    return tree


def _first_flags(mount: Mount) -> int:
    """The MS_ flags that a new file system is mounted with: writable where it is finished later."""
    return mount.options.flags & ~(mounts.MS_RDONLY if mount.is_read_only_later else 0)


def _check_place(place: str, may_be_proc: Callable[[], bool] = lambda: False) -> None:
    """Refuse a mount over the whole rootfs, and one that would hide or fake a part of /proc. Raises Failure."""
    if not place:
        raise Failure('mountpoint "/" is on the top of rootfs')
    if place == "proc" and not may_be_proc():
        raise Failure('"/proc" cannot be mounted because it is not of type proc')
    if place.startswith("proc/") and place not in _VALID_IN_PROC:
        raise Failure(f'"/{place}" cannot be mounted because it is inside /proc')


def _where(mount: Mount) -> str:
    return f'error mounting "{mount.source}" to rootfs at "{mount.destination}"'


def _described(mount: Mount) -> str:
    """A mount as runc's mountError shows it."""
    parts = [f"src={mount.source}", f"dst={mount.destination}"]
    if mount.options.flags:
        parts.append(f"flags={options_of.names(mount.options.flags)}")
    if mount.options.data:
        parts.append(f"data={','.join(mount.options.data)}")
    return f"mount {', '.join(parts)}"
