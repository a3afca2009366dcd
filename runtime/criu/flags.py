"""The flags that `checkpoint` and `restore` share, and what they are in CRIU's options (runc: criuOptions)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hookrun.runtime.criu.service import Service
from hookrun.runtime.errors import Failure, failing
from hookrun.runtime.linux import files, paths
from hookrun.runtime.linux.namespaces import in_user_namespace

_CGROUP_MODES = {"": "DEFAULT", "soft": "SOFT", "full": "FULL", "strict": "STRICT", "ignore": "IGNORE"}
_NEWNET = 0x40000000
_LOG_LEVEL = 4
_DEFAULT_CONFIG_FILE = "/etc/criu/runc.conf"
_CONFIG_FILE = "org.criu.config"


def demand_root(command: str) -> None:
    """Raise Failure for whom CRIU can do nothing."""
    if os.geteuid() != 0 or in_user_namespace():
        raise Failure(f"{command} needs the host's root: CRIU can't {command} rootless containers")


class Directories:
    """Where the images are, and where CRIU works and logs."""

    __slots__ = ("images", "log", "parent", "work")

    def __init__(self, options: dict[str, Any], log: str) -> None:
        """Paths are made absolute before the bundle becomes the working directory. `log` is the log's name."""
        self.images = os.path.abspath(options["image-path"] or "checkpoint")
        self.work = os.path.abspath(options["work-path"]) if options["work-path"] else self.images
        self.parent: str = options.get("parent-path") or ""
        self.log = log

    @property
    def log_path(self) -> str:
        return f"{self.work}/{self.log}"

    def open_in(self, opts: Any, opened: list[int], criu: Service) -> None:
        """Open the directories for CRIU, which mounts in them: as they are in its own mount namespace.

        The descriptors, which the caller closes, go into `opened` too. Raises Failure.
        """
        opts.images_dir_fd = _opened(self.images, opened, criu)
        if self.work != self.images:
            opts.work_dir_fd = _opened(self.work, opened, criu)
        opts.log_file = self.log
        try:
            os.unlink(self.log_path)  # what is found there afterwards is this time's
        except OSError:
            pass


def make_directory(path: str) -> None:
    """Make a directory of images or logs where it is missing. Raises Failure."""
    with failing(f"mkdir {path}"):
        files.make_directories(path, 0o700)


def _opened(path: str, opened: list[int], criu: Service) -> int:
    with failing(f"open {path}"):
        descriptor = os.open(
            f"/proc/{criu.pid}/root{paths.realpath(path)}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    opened.append(descriptor)
    return descriptor


def check(options: dict[str, Any]) -> None:
    """Refuse what runc refuses, in its words. Raises Failure."""
    if options["manage-cgroups-mode"] not in _CGROUP_MODES:
        raise Failure("invalid manage-cgroups-mode value")
    for name in options["empty-ns"]:
        if name != "network":
            raise Failure(f'namespace "{name}" is not supported')


def fill(opts: Any, options: dict[str, Any], annotations: Mapping[str, str]) -> None:
    """Set the options that dump and restore share."""
    from hookrun.runtime.criu.messages import rpc  # raises Failure on a host without protobuf

    opts.log_level = _LOG_LEVEL
    opts.notify_scripts = True
    opts.orphan_pts_master = True
    opts.manage_cgroups = True  # what CRIU before 2.0 reads
    opts.manage_cgroups_mode = rpc.criu_cg_mode.Value(_CGROUP_MODES[options["manage-cgroups-mode"]])
    # runc and hookrun leave network devices to the engine: the namespace alone is theirs.
    opts.empty_ns = _NEWNET
    for flag in ("shell-job", "tcp-established", "ext-unix-sk", "file-locks", "auto-dedup", "lazy-pages"):
        setattr(opts, flag.replace("-", "_"), options[flag])
    config_file = annotations.get(_CONFIG_FILE, _DEFAULT_CONFIG_FILE)
    if config_file:
        opts.config_file = config_file
