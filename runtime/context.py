"""What a command is told besides its own options and arguments."""

from __future__ import annotations

import os
import time
from typing import Any

from hookrun.runtime.errors import Failure, quoted
from hookrun.runtime.linux.namespaces import in_user_namespace
from hookrun.runtime.log import Log
from hookrun.runtime.rootfs.judged import Judged

TRUE_WORDS = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE_WORDS = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class Context:
    """The global options, what was prepared for the command, and what the command reports beside its status.

    `rootless` is "auto", "true" or "false". `config` is the bundle's config.json, already patched, for the commands
    that make a container; `process` the process object that `exec` runs; `resources` what `update` sets; they are
    None where the command reads them itself. `is_process_judged`: policies judged `process`, and what it leaves out
    stays out. `judged` is what policies found on the host. `given` holds the long
    names of the command's flags that the engine gave.
    `phases` collects (name, nanoseconds), in order; `hook_results` what each hook that ran gave back; `statistics` is
    what CRIU says of its work; `harm` what the kernel did to a deleted container (`cgroups.manager.Manager.harm`).
    """

    __slots__ = (
        "_last",
        "config",
        "criu",
        "debug",
        "given",
        "harm",
        "hook_results",
        "is_process_judged",
        "judged",
        "log",
        "phases",
        "process",
        "resources",
        "root",
        "rootless",
        "statistics",
        "systemd_cgroup",
    )

    def __init__(
        self,
        root: str,
        log: Log,
        *,
        systemd_cgroup: bool = False,
        rootless: str = "auto",
        criu: str = "criu",
        debug: bool = False,
    ) -> None:
        self.root = root
        self.log = log
        self.systemd_cgroup = systemd_cgroup
        self.rootless = rootless
        self.criu = criu
        self.debug = debug
        self.config: dict[str, Any] | None = None
        self.process: dict[str, Any] | None = None
        self.is_process_judged = False
        self.resources: dict[str, Any] | None = None
        self.judged = Judged()
        self.given: set[str] = set()
        self.harm: dict[str, int] = {}
        self.hook_results: list[dict[str, Any]] = []
        self.phases: list[tuple[str, int]] = []
        self.statistics: dict[str, Any] = {}
        self._last = time.monotonic_ns()

    def phase(self, name: str) -> None:
        """Say that the time since the last phase, or since the start, went into `name`."""
        now = time.monotonic_ns()
        self.phases.append((name, now - self._last))
        self.log.debug(f"{name}: {(now - self._last) / 1e6:.3f} ms")
        self._last = now

    def ignores_cgroup_errors(self) -> bool:
        """Whether missing rights on cgroups are no error: --rootless, or without it who we are.

        Source: runc rootless_linux.go (shouldUseRootlessCgroupManager). Raises Failure for another word than a
        boolean or `auto`.
        """
        if self.rootless.lower() in ("", "auto"):
            return os.geteuid() != 0 or in_user_namespace()
        if self.rootless not in TRUE_WORDS | FALSE_WORDS:
            raise Failure(f"strconv.ParseBool: parsing {quoted(self.rootless)}: invalid syntax")
        return self.rootless in TRUE_WORDS


def default_root() -> str:
    """/run/hookrun, or $XDG_RUNTIME_DIR/hookrun for whoever is not the host's root.

    Source: runc rootless_linux.go (shouldHonorXDGRuntimeDir).
    """
    directory = os.getenv("XDG_RUNTIME_DIR", "")
    if not directory:
        return "/run/hookrun"
    honoured = os.geteuid() != 0 or (in_user_namespace() and os.getenv("USER") != "root")
    return f"{directory}/hookrun" if honoured else "/run/hookrun"
