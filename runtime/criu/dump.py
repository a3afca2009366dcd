"""`checkpoint`: CRIU saves a container's processes to files (runc: criu_linux.go Checkpoint)."""

from __future__ import annotations

import fcntl
import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context
from hookrun.runtime.criu import flags, logs, shared, statistics
from hookrun.runtime.criu.messages import filling, rpc
from hookrun.runtime.criu.service import CriuFailure, Service
from hookrun.runtime.errors import Failure, failing, reason

DESCRIPTORS = "descriptors.json"
"""The names of the standard streams that the container was started with, in the images' directory."""

_HIGHEST_PORT = 65535
_V2_FREEZER = 31400
_STATUS_BY_NOTIFICATION = 31500


class Dump:
    """One checkpoint of a container."""

    __slots__ = ("_container", "_context", "_directories", "_options", "_page_server", "_status_fd")

    def __init__(self, context: Context, container: Container, options: dict[str, Any]) -> None:
        """Check the command line and make the directories. Raises Failure."""
        self._context = context
        self._container = container
        self._options = options
        self._directories = flags.Directories(options, "dump.log")
        self._page_server = _page_server(options["page-server"])
        self._status_fd = _status_fd(options)
        self._check_parent()
        flags.make_directory(self._directories.images)
        flags.make_directory(self._directories.work)

    def _check_parent(self) -> None:
        if not self._directories.parent:
            return
        if self._directories.parent.startswith("/"):
            raise Failure("--parent-path must be relative")
        path = os.path.normpath(f"{self._directories.images}/{self._directories.parent}")
        with failing(f"invalid --parent-path: stat {path}"):
            os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def run(self) -> None:
        """Have CRIU do it. Raises Failure; the container goes on then."""
        was_frozen = self._container.is_frozen()
        try:
            self._run()
        except Failure:
            # A CRIU that was killed leaves it frozen.
            if not was_frozen and self._container.is_frozen():
                self._container.cgroups().thaw()
            raise

    def _run(self) -> None:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        opened = [null]
        try:
            criu = Service(self._context.criu, [null] * 3, [])
            try:
                self._request(criu, opened)
            finally:
                ended = criu.end()
            # CRIU waits for another dump after a pre-dump, and is left by it.
            if ended and not self._options["pre-dump"]:
                raise Failure(f"criu failed: {ended}")
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self._context.statistics = statistics.of_dump(self._directories.work)

    def _request(self, criu: Service, opened: list[int]) -> None:
        if self._options["pre-dump"]:
            criu.demand_feature("mem_track", "a pre-dump takes a kernel with CONFIG_MEM_SOFT_DIRTY")
        if self._options["lazy-pages"]:
            criu.demand_feature("lazy_pages", "lazy pages take a kernel with userfaultfd")
        request = rpc.criu_req(type=rpc.PRE_DUMP if self._options["pre-dump"] else rpc.DUMP)
        with filling():
            self._fill(request.opts, criu, opened)
        self._context.phase("criu")
        try:
            criu.carry_out(request, self._notified)
        except CriuFailure as failure:
            raise logs.explained(failure, self._directories.log_path, criu.complaint) from None
        self._context.phase("dump")

    def _fill(self, opts: Any, criu: Service, opened: list[int]) -> None:
        container, options = self._container, self._options
        self._directories.open_in(opts, opened, criu)
        flags.fill(opts, options, container.annotations)
        opts.root = container.state["config"]["rootfs"]
        opts.pid = container.init_pid
        opts.leave_running = options["leave-running"]
        opts.tcp_skip_in_flight = options["tcp-skip-in-flight"]
        opts.link_remap = options["link-remap"]
        shared.note_namespaces_for_dump(opts, container.config, criu)
        freezer = self._freezer(criu)
        if freezer:
            opts.freeze_cgroup = freezer
        if self._page_server:
            opts.ps.address, opts.ps.port = self._page_server
        if self._directories.parent:
            opts.parent_img = self._directories.parent
            opts.track_mem = True
        if self._status_fd is not None and criu.version < _STATUS_BY_NOTIFICATION:
            opts.status_fd = self._status_fd
        if not options["pre-dump"]:
            self._note_shared(opts)

    def _freezer(self, criu: Service) -> str:
        """The cgroup that CRIU freezes; without one it stops the processes one by one."""
        paths = self._container.state["cgroup_paths"]
        if "freezer" in paths:
            return str(paths["freezer"])
        return str(paths.get("", "")) if criu.version >= _V2_FREEZER else ""

    def _note_shared(self, opts: Any) -> None:
        container = self._container
        places = shared.mounts(container.config, container.bundle, container.state["cgroup_paths"])
        shared.note_for_dump(opts, places, shared.masked_files(container.config, container.init_pid))
        path = f"{self._directories.images}/{DESCRIPTORS}"
        names = container.state.get("external_descriptors") or ["/dev/null"] * 3
        with failing(f"open {path}"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, jsonio.dumps(names).encode())
            finally:
                os.close(descriptor)

    def _notified(self, script: str, pid: int, descriptor: int | None) -> None:
        self._context.log.debug(f"notify: {script}")
        if script == "status-ready" and self._status_fd is not None:
            try:
                os.write(self._status_fd, b"\0")
                os.close(self._status_fd)
            except OSError as error:
                self._context.log.warning(f"can't write \\0 to status fd: {reason(error)}")
            self._status_fd = None


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not address or not port:
        raise Failure("Use --page-server ADDRESS:PORT to specify page server")
    if not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise Failure("Invalid port number")
    return address, int(port)


def _status_fd(options: dict[str, Any]) -> int | None:
    """The descriptor of --status-fd, which only lazy pages have a use for. Raises Failure where it can't be written."""
    descriptor: int = options["status-fd"]
    if not options["lazy-pages"] or descriptor == -1:
        return None
    try:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except (OSError, ValueError):
        raise Failure(f"invalid --status-fd argument {descriptor}: bad file descriptor") from None
    if not mode & (os.O_WRONLY | os.O_RDWR):
        raise Failure(f"invalid --status-fd argument {descriptor}: not writable")
    return descriptor
