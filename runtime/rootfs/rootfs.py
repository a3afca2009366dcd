"""The root file system of a container, from the bundle's directory to the container's "/".

In runc's order, the parent calls `container_mounts.check` before anything is made, and the init in its new namespaces
and cgroups `prepare`, (hooks), `enter`, `mount_console`, `finalize`, `apply_sysctls`, `restrict_paths`.
Source: runc: rootfs_linux.go prepareRootfs, finalizeRootfs; standard_init_linux.go.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass

from hookrun.runtime.documents import Config
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import lsm, mountinfo, mounts
from hookrun.runtime.linux.namespaces import in_user_namespace
from hookrun.runtime.log import Log
from hookrun.runtime.rootfs import covered_paths, dev, devices, sources, sysctls
from hookrun.runtime.rootfs.cgroup_mounts import CgroupMounts
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.rootfs.mounter import RootfsMounter
from hookrun.runtime.rootfs.sources import Identity
from hookrun.runtime.spec import container_mounts
from hookrun.runtime.spec.sections import linux, namespace_paths, root_path


def prepare(
    config: Config,
    bundle: str,
    sources: dict[int, int],
    judged: Judged,
    cgroup_mounts: CgroupMounts,
    log: Log,
) -> Rootfs:
    """Make the rootfs a mount of its own, with all mounts and devices of the config in it.

    Called in the container's mount namespace, with the host's mounts still around; a container without one has its
    mounts in the host's, until `release`. `sources` comes from `host_mounts.open_sources`, `judged` is
    `Context.judged`, `cgroup_mounts` comes from `cgroup_mounts.plan`. Raises Failure.
    """
    path = root_path(config, bundle)
    with failing(f"error preparing rootfs: {path}"):
        if has_mount_namespace(config):
            root = _prepare_root(path, container_mounts.rootfs_propagation(config), judged.sources.get((path, True)))
        else:
            root = _bind_to_itself(path, judged.sources.get((path, True)))
            mounts.set_propagation(path, mounts.MS_PRIVATE | mounts.MS_REC)
    label = _mount_label(config, log)
    mounter = RootfsMounter(root, path, label, judged, cgroup_mounts, log)
    wanted = container_mounts.parse_all(config, bundle)
    for index, mount in enumerate(wanted):
        mounter.mount(mount, sources.get(index))
    has_own_dev = not any(mount.is_bind and mount.place == "dev" for mount in wanted)
    if has_own_dev:
        _set_up_dev(root, config)
    return Rootfs(config, path, root, label, mounter.read_only_later, has_own_dev=has_own_dev)


def _mount_label(config: Config, log: Log) -> str:
    """linux.mountLabel; "" without SELinux, whose kernel takes no label from a mount: crun goes on too, runc fails."""
    label: str = linux(config).get("mountLabel") or ""
    if label and not lsm.selinux_is_enabled():
        log.warning(f"linux.mountLabel {label} is ignored: SELinux is disabled or not supported")
        return ""
    return label


def has_mount_namespace(config: Config) -> bool:
    """Whether the container's mounts are its own, and end with it."""
    return "mount" in namespace_paths(config)


def mounts_at(path: str) -> int:
    """How many mounts lie at a path, one on the other. Raises Failure."""
    with failing("open /proc/self/mountinfo"):
        return sum(mounted.path == path for mounted in mountinfo.read())


def release_beyond(path: str, before: int) -> None:
    """Take away what a `create` without a mount namespace mounted at a path over `before` others. Raises Failure."""
    if mounts_at(path) > before:
        release(path)


def release(path: str) -> None:
    """Take the mounts of a container without a mount namespace away; runc leaves them. Raises Failure."""
    try:
        mounts.detach(path)
    except OSError as error:
        if error.errno == errno.EINVAL:  # no mount: somebody was quicker
            return
        raise Failure(f"unmount rootfs {path}: {reason(error)}") from None


def apply_sysctls(config: Config) -> None:
    """linux.sysctl, after the rootfs is entered. Raises Failure."""
    sysctls.write(linux(config).get("sysctl") or {})


def _prepare_root(path: str, propagation: int, judged: Identity | None) -> int:
    """Bind the rootfs to itself, out of reach of propagation; a descriptor of it."""
    # "unbindable" is for the finished root alone: as long as we make mounts, the host's must be there to bind.
    is_early = propagation and not propagation & mounts.MS_UNBINDABLE
    early = propagation if is_early else mounts.MS_SLAVE | mounts.MS_REC
    mounts.set_propagation("/", early)
    # A recursive slave or private has reached the mount that holds the rootfs too: it stays the slave that it is.
    if early & mounts.MS_SHARED or not early & mounts.MS_REC:
        _unshare_parent(path, mounts.MS_SLAVE if early & mounts.MS_SLAVE else mounts.MS_PRIVATE)
    return _bind_to_itself(path, judged)


def _bind_to_itself(path: str, judged: Identity | None) -> int:
    below = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if judged is None:
            root = mounts.copy_tree(below, recursive=True)
        else:
            root = sources.copy(below, path, recursive=True, judged=judged)
        mounts.attach(root, below)
        return root
    finally:
        os.close(below)


def _unshare_parent(path: str, propagation: int) -> None:
    """Make the mount that holds the rootfs private: pivot_root(2) and the bind that follows must reach no peer."""
    while True:
        try:
            mounts.set_propagation(path, propagation)
            return
        except OSError as error:
            # EINVAL: no mount point, so the mount is further up.
            if error.errno != errno.EINVAL or path == "/":
                raise
        path = os.path.dirname(path)


def _set_up_dev(root: int, config: Config) -> None:
    try:
        devices.create(root, config, by_bind="user" in namespace_paths(config) or in_user_namespace())
        dev.link_ptmx(root)
        dev.make_links(root)
    except (OSError, Failure) as error:
        text = error.text if isinstance(error, Failure) else reason(error)
        raise Failure(f"configuring container /dev: {text}") from None


@dataclass(frozen=True, slots=True)
class Rootfs:
    """A prepared rootfs, held by a descriptor of its root."""

    config: Config
    path: str
    root: int
    """O_PATH descriptor of the root: createContainer hooks run with it as their working directory."""
    label: str
    read_only_later: list[int]
    """Mounts to be made read-only when the rootfs is finished, by their roots' descriptors."""
    has_own_dev: bool

    def enter(self, *, no_pivot: bool) -> None:
        """Make the rootfs "/" and the working directory, and the host's mounts unreachable. Raises Failure."""
        with failing("error jailing process inside rootfs"):
            if not has_mount_namespace(self.config):
                self._change_root()
            elif no_pivot:
                self._move_root()
            else:
                self._pivot_root()
        if self.has_own_dev:
            dev.reopen_null(self.root)

    def _change_root(self) -> None:
        os.fchdir(self.root)
        os.chroot(".")
        os.chdir("/")

    def _pivot_root(self) -> None:
        """pivot_root(".", ".") puts the old root on top of the new one: it needs no directory in the rootfs."""
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchdir(self.root)
            mounts.pivot_root_here()
            os.fchdir(old)
            # Slave, not private: the host's unmounts still arrive, ours don't go out.
            mounts.set_propagation(".", mounts.MS_SLAVE | mounts.MS_REC)
            mounts.detach(".")
        finally:
            os.close(old)
        os.chdir("/")

    def _move_root(self) -> None:
        """MS_MOVE, for roots on a ramfs: the host's mounts stay below, so its procfs and sysfs have to go first."""
        for mounted in list(mountinfo.read()):
            is_whole = mounted.root == "/" and mounted.kind in ("proc", "sysfs")
            if is_whole and not mounted.path.startswith(f"{self.path}/"):
                _take_away(mounted.path)
        mounts.move_to_root(self.root)
        self._change_root()

    def mount_console(self, slave: int) -> None:
        """Show a pty's slave, made after `enter` by `terminal.allocate`, at /dev/console. Raises Failure."""
        dev.mount_console(self.root, slave)

    def finalize(self) -> None:
        """Make read-only what the config wants so: /dev and tmpfs mounts, and the root itself. Raises Failure."""
        with failing("error setting rootfs as readonly"):
            for mount in self.read_only_later:
                _make_read_only(mount)
            if (self.config.get("root") or {}).get("readonly"):
                mounts.set_attributes(self.root, mounts.ATTR_RDONLY)

    def restrict_paths(self) -> None:
        """linux.readonlyPaths and linux.maskedPaths, then what is left of linux.rootfsPropagation.

        The last that is done to the rootfs: lets go of every descriptor. Raises Failure.
        """
        wanted = linux(self.config)
        covered_paths.make_read_only(self.root, wanted.get("readonlyPaths") or [])
        covered_paths.mask(self.root, wanted.get("maskedPaths") or [], self.label)
        self._apply_propagation()
        for descriptor in (self.root, *self.read_only_later):
            os.close(descriptor)

    def _apply_propagation(self) -> None:
        """Private and slave were there from the start; shared and unbindable are for the finished "/" alone."""
        propagation = container_mounts.rootfs_propagation(self.config)
        if propagation and not propagation & (mounts.MS_PRIVATE | mounts.MS_SLAVE):
            with failing("unable to apply root propagation flags"):
                mounts.set_propagation("/", propagation)


def _make_read_only(mount: int) -> None:
    """Somebody may still be writing for a moment."""
    for _ in range(5):
        try:
            mounts.set_attributes(mount, mounts.ATTR_RDONLY)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        time.sleep(0.1)
    raise OSError(errno.EBUSY, "unable to mount as readonly max retries reached")


def _take_away(path: str) -> None:
    """Unmount a mount of the host's in our namespace alone; cover it where it is locked. Raises OSError."""
    try:
        mounts.set_propagation(path, mounts.MS_SLAVE | mounts.MS_REC)
    except FileNotFoundError:
        return  # A mount above it has been taken away.
    try:
        mounts.detach(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        mounts.attach(mounts.new_filesystem("tmpfs", "tmpfs", [], 0), target)
        os.close(target)
