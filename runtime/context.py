"""What a command is told besides its own options and arguments."""

from __future__ import annotations

import os
import time
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from hookrun.runtime.errors import Failure, quoted
from hookrun.runtime.linux.namespaces import in_user_namespace
from hookrun.runtime.log import Log
from hookrun.runtime.rootfs.judged import Judged

Options = dict[str, Any]
"""What the command line says: the flags' values by their long names, in the types that the grammar gives them."""
TRUE_WORDS = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE_WORDS = frozenset(("0", "f", "F", "FALSE", "false", "False"))


@dataclass(slots=True)
class Context:
    """The global options, what was prepared for the command, and what the command reports beside its status."""

    root: str
    log: Log
    _: KW_ONLY
    systemd_cgroup: bool = False
    rootless: str = "auto"
    """One of auto, true and false."""
    criu: str = "criu"
    debug: bool = False
    given: set[str] = field(default_factory=set)
    """The long names of the command's flags that the engine gave."""

    config: dict[str, Any] | None = None
    """The bundle's config.json, already patched, for the commands that make a container. None here and in the next
    fields: the command reads it itself."""
    process: dict[str, Any] | None = None
    """The process object that `exec` runs."""
    is_process_judged: bool = False
    """Whether policies judged `process`, and what it leaves out stays out."""
    resources: dict[str, Any] | None = None
    """What `update` sets."""
    judged: Judged = field(default_factory=Judged)
    """What policies found on the host."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    """(name, nanoseconds), in order."""
    hook_results: list[dict[str, Any]] = field(default_factory=list)
    """What each hook that ran gave back."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """What CRIU says of its work."""
    harm: dict[str, int] = field(default_factory=dict)
    """What the kernel did to a deleted container (`cgroups.manager.Manager.harm`)."""
    _last: int = field(default_factory=time.monotonic_ns)

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
