"""`restore`: a container is made as `create` makes one, but CRIU brings its processes (runc: criu_linux.go Restore).

CRIU works in a mount namespace of its own, whose mounts end with it. From there it makes the container's, as a child
of hookrun.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups.entrance import Entrance
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context
from hookrun.runtime.criu import flags, logs, shared, statistics
from hookrun.runtime.criu.dump import DESCRIPTORS
from hookrun.runtime.criu.messages import filling, rpc
from hookrun.runtime.criu.service import FIRST_PASSED, CriuFailure, Service
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files, mounts, namespaces, pids
from hookrun.runtime.process import channel, spawn, terminal
from hookrun.runtime.process.creation import Creation, Request
from hookrun.runtime.process.spawn import ChildProcess
from hookrun.runtime.rootfs import cgroup_mounts
from hookrun.runtime.rootfs.mounter import RootfsMounter
from hookrun.runtime.spec import container_mounts
from hookrun.runtime.spec.container_mounts import Mount
from hookrun.runtime.spec.hooks import of_stage
from hookrun.runtime.spec.sections import linux, namespace_paths, root_path

_LSM_OPTIONS = 31600


class Restoration(Creation):
    """One container that is being restored, and how to undo what has been made."""

    __slots__ = ("_console", "_container", "_directories", "_options")

    def __init__(self, context: Context, request: Request, options: dict[str, Any]) -> None:
        """Read and check everything that can be checked before anything is made. Raises Failure."""
        self._options = options
        self._directories = flags.Directories(options, "restore.log")
        self._console: int | None = None
        self._container: Container | None = None
        if not os.path.isdir(self._directories.images):
            raise Failure(f"image directory {self._directories.images} is not there: pass --image-path")
        super().__init__(context, request)

    def _make(self) -> Container:
        self.context.phase("check")
        flags.make_directory(self._directories.work)
        manager = self._make_cgroups()
        self.context.phase("cgroups")
        self._make_places(manager)
        self._draft.keep_config(self.config)
        self._console = self._connect_console()
        joined = shared.Joined(self.config)
        try:
            self._restore(manager, joined)
        finally:
            joined.close()
            if self._console is not None:
                os.close(self._console)
        self.context.statistics = statistics.of_restore(self._directories.work)
        self.context.phase("restore")
        assert self._container is not None
        return self._container

    def _make_places(self, manager: Manager) -> None:
        """Make the places of mounts as `create` does, in a process with a mount namespace of its own.

        CRIU makes none, and an image or a source of a bind may have lost them since (runc: prepareCriuRestoreMounts).
        """
        shown = cgroup_mounts.plan(self.config, manager.paths)

        def main(line: channel.ChildLine) -> NoReturn:
            self._make_places_inside(shown)
            line.close()
            os._exit(0)

        child = spawn.clone(namespaces.NEWNS, Entrance(), main)
        try:
            _, problem = child.line.receive()
        finally:
            child.line.close()
            os.close(child.pidfd)
            os.waitpid(child.pid, 0)
        if problem:
            raise Failure(f"create criu restore mountpoint: {problem}")

    def _make_places_inside(self, shown: cgroup_mounts.CgroupMounts) -> None:
        mounts.set_propagation("/", mounts.MS_SLAVE | mounts.MS_REC)
        path = root_path(self.config, self.request.bundle)
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mounter = RootfsMounter(root, path, "", self.context.judged, shown, self.context.log)
        wanted = container_mounts.parse_all(self.config, self.request.bundle)
        for mount in wanted:
            if mount.kind != "cgroup" and not _is_on_tmpfs(mount, wanted):
                mounter.make_place(mount)

    def _restore(self, manager: Manager, joined: shared.Joined) -> None:
        names = self._saved_stream_names()
        root = f"{self._draft.directory}/criu-root"
        rootfs = root_path(self.config, self.request.bundle)
        os.mkdir(root, 0o700)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        # A terminal is CRIU's to make: it needs none of ours then.
        streams = [null] * 3 if self._has_terminal() else [0, 1, 2]
        opened = [null]

        def prepare() -> None:
            """CRIU's root has to be a mount point, and nothing may lie over the mount that it is on."""
            mounts.set_propagation("/", mounts.MS_SLAVE | mounts.MS_REC)
            _bind(rootfs, root)

        criu = Service(
            self.context.criu,
            streams,
            joined.descriptors,
            namespaces=namespaces.NEWNS,
            entrance=manager.entrance(),
            prepare=prepare,
        )
        try:
            self._set_limits(manager)
            request = rpc.criu_req(type=rpc.RESTORE)
            with filling():
                self._fill(request.opts, criu, joined, opened)
                request.opts.root = root
                _note_streams(request.opts, names)
            self.context.phase("criu")
            criu.carry_out(request, lambda *told: self._notified(manager, *told))
        except CriuFailure as failure:
            criu.end()
            logs.remove_mounts_directory(self._directories.log_path)
            raise logs.explained(failure, self._directories.log_path, criu.complaint) from None
        finally:
            ended = criu.end()
            for descriptor in opened:
                os.close(descriptor)
            os.rmdir(root)
        if ended:
            raise Failure(f"criu failed: {ended}")

    def _saved_stream_names(self) -> list[str]:
        path = f"{self._directories.images}/{DESCRIPTORS}"
        found = jsonio.read(path)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise Failure(f"{path}: it must be a list of names: is this a container's checkpoint?")
        return found

    def _fill(self, opts: Any, criu: Service, joined: shared.Joined, opened: list[int]) -> None:
        self._directories.open_in(opts, opened, criu)
        flags.fill(opts, self._options, self.config.get("annotations") or {})
        opts.evasive_devices = True
        opts.rst_sibling = True
        for flag in ("lsm-profile", "lsm-mount-context"):
            if self._options[flag]:
                if criu.version < _LSM_OPTIONS:
                    raise Failure(f"--{flag} requires at least CRIU 3.16")
                setattr(opts, flag.replace("-", "_"), self._options[flag])
        joined.note(opts, criu, FIRST_PASSED)
        assert self._manager is not None
        shared.note_for_restore(opts, shared.mounts(self.config, self.request.bundle, self._manager.paths), self.config)
        for controllers, path in _cgroups_of(criu.pid):
            for controller in controllers.split(","):
                opts.cg_root.add(ctrl=controller, path=path)

    def _notified(self, manager: Manager, script: str, pid: int, descriptor: int | None) -> None:
        self.context.log.debug(f"notify: {script}")
        if script == "setup-namespaces":
            for stage in ("prestart", "createRuntime"):
                if of_stage(self.config, stage):
                    self._run_hooks(stage, pid)
        elif script == "orphan-pts-master" and descriptor is not None and self._console is not None:
            terminal.send(self._console, descriptor, "orphan-pts-master")
        elif script == "post-restore":
            self._take_over(manager, pid)

    def _take_over(self, manager: Manager, pid: int) -> None:
        """The processes are there, and stopped still: make it a container."""
        self._child = ChildProcess(pid, pids.open_pidfd(pid), channel.ParentLine(-1, -1))
        if "time" not in namespace_paths(self.config) and _has_own_time(pid):
            # CRIU sets the clocks back to where they were; what `exec` brings has to see the same.
            linux(self.config)["namespaces"].append({"type": "time"})
            self._draft.keep_config(self.config)
        self._container = self._finish(self._child, manager)

    def _destroy_cgroups(self) -> None:
        if self._manager is not None and self._manager.exists():
            # Without a pid namespace the first process's end does not end the others.
            self._manager.signal_all(signal.SIGKILL, self.context.log)
        super()._destroy_cgroups()


def _is_on_tmpfs(mount: Mount, wanted: list[Mount]) -> bool:
    """Whether CRIU brings the place back with a tmpfs's content."""
    return any(other.kind == "tmpfs" and mount.destination.startswith(f"{other.destination}/") for other in wanted)


def _bind(source: str, target: str) -> None:
    tree = mounts.open_tree(source, recursive=True)
    place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.attach(tree, place)
    os.close(place)
    os.close(tree)


def _cgroups_of(pid: int) -> Iterator[tuple[str, str]]:
    """The controllers of each hierarchy, with commas between them, and a process's cgroup there (cgroups(7))."""
    for line in files.read_bytes(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _has_own_time(pid: int) -> bool:
    try:
        return not namespaces.is_same(f"/proc/{pid}/ns/time", "/proc/self/ns/time")
    except OSError:  # a kernel without time namespaces
        return False


def _note_streams(opts: Any, names: list[str]) -> None:
    """What was a pipe of the caller's is one of this caller's now."""
    for number, name in enumerate(names):
        if "pipe:" in name:
            opts.inherit_fd.add(key=name, fd=number)
