"""Which modules a container's features take after the clone, loaded before it by the parent, for both processes.

Most containers use few of the features, and each module costs time: so none of these is imported at the top of the
modules that use it. What is forgotten here raises Failure in `linux/imports.py`, and fails a test in
`tests/security/test_imports.py` before that.
"""

from __future__ import annotations

from hookrun.runtime.linux import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


def load_for_birth(
    config: dict[str, Any], of_cgroups: Iterable[str], *, console: bool, pidfd: bool, judged: bool
) -> None:
    """Load what it takes to make, run and end a container of this config, and shut the door behind it.

    `of_cgroups` are the modules that its cgroups take; `console` and `pidfd` say whether those are sent by socket,
    `judged` whether policies judged its mounts' sources.
    """
    platform: dict[str, Any] = config.get("linux") or {}
    of_mounts = ("hookrun.runtime.rootfs.sources",) if judged else ()
    _load(
        *_of_process(config["process"], platform),
        *_of_sockets(console, pidfd),
        *_of_host(platform),
        *of_mounts,
        *of_cgroups,
    )


def load_for_entry(
    process: dict[str, Any], platform: dict[str, Any], *, console: bool, pidfd: bool, resctrl: bool
) -> None:
    """Load what it takes to run a process in a container with this `linux` object, and shut the door behind it."""
    of_host = ("hookrun.runtime.cgroups.rdt",) if resctrl else ()
    _load(*_of_process(process, platform), *_of_sockets(console, pidfd), *of_host)


def _load(*names: str) -> None:
    for name in names:
        __import__(name)
    imports.close()


def _of_process(process: dict[str, Any], platform: dict[str, Any]) -> Iterator[str]:
    if process.get("apparmorProfile") or process.get("selinuxLabel") or platform.get("mountLabel"):
        yield "hookrun.runtime.linux.lsm"
    if process.get("scheduler") or process.get("ioPriority") or process.get("execCPUAffinity"):
        yield "hookrun.runtime.process.scheduling"
    if platform.get("personality") or platform.get("memoryPolicy"):
        yield "hookrun.runtime.process.placement"
    if platform.get("seccomp"):
        yield "hookrun.runtime.linux.seccomp"
        if any(entry.get("action") == "SCMP_ACT_NOTIFY" for entry in platform["seccomp"].get("syscalls") or ()):
            yield "hookrun.runtime.process.seccomp_agent"
    # Hooks are waited for, and the processes of a container that fails.
    yield "select"


def _of_sockets(console: bool, pidfd: bool) -> Iterator[str]:
    if console or pidfd:
        yield "_socket"
    if console:
        yield "fcntl"


def _of_host(platform: dict[str, Any]) -> Iterator[str]:
    """What the parent does for the child."""
    if platform.get("netDevices"):
        yield "hookrun.runtime.process.net_devices"
    if platform.get("intelRdt"):
        yield "hookrun.runtime.cgroups.rdt"
