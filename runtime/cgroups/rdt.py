"""Intel RDT: shares of the last-level cache and of memory bandwidth, and their monitoring, through resctrl.

Sources: runtime-spec config-linux.md "IntelRdt"; the kernel's filesystems/resctrl.rst; runc libcontainer/intelrdt.
A container is in a group of its own, or in the one that `closID` names.
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.cgroups.stats import compact
from hookrun.runtime.documents import Config, IntelRdt, SavedState
from hookrun.runtime.errors import Failure, quoted, reason
from hookrun.runtime.linux.mountinfo import MountTable

_USUAL_ROOT = "/sys/fs/resctrl"
_TRAFFIC = ("mbm_total_bytes", "mbm_local_bytes")
_OCCUPANCY = "llc_occupancy"


class Features:
    """What the resctrl tree at `root` offers; nothing where `root` is ""."""

    __slots__ = ("bandwidth_allocation", "cache_allocation", "monitoring", "root")

    def __init__(self, root: str) -> None:
        self.root = root
        self.cache_allocation = bool(root) and os.path.exists(f"{root}/info/L3")
        self.bandwidth_allocation = bool(root) and os.path.exists(f"{root}/info/MB")
        self.monitoring: set[str] = set()
        try:
            if root:
                self.monitoring.update(_read(f"{root}/info/L3_MON/mon_features").split())
        except OSError:
            pass


def features(root: str | None = None) -> Features:
    """What this host offers, or the tree at `root`."""
    return Features(find_root() if root is None else root)


def find_root() -> str:
    """Where resctrl is mounted, "" where it is not; the kernel has the usual directory only if it has resctrl."""
    if not os.path.isdir(_USUAL_ROOT):
        return ""
    return next((mount.path for mount in MountTable().of_kind("resctrl")), "")


def join(config: Config, container_id: str, pid: int, root: str | None = None) -> tuple[str, bool]:
    """Put a process, and so all that it starts, into the container's group, and set the group's shares.

    Returns the group's directory and whether it was made here, for state.json's `intel_rdt_path` and
    `intel_rdt_created`, which `destroy` reads. Raises Failure.
    """
    wanted = config["linux"]["intelRdt"]
    available = features(root)
    _check(wanted, available)
    group = f"{available.root}/{wanted.get('closID') or container_id}".rstrip("/")
    schemata = [wanted.get("l3CacheSchema"), wanted.get("memBwSchema"), *(wanted.get("schemata") or ())]
    lines = [line for line in schemata if line]
    if wanted.get("closID") and not lines and not os.path.isdir(group):
        raise Failure(
            "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty): "
            f"stat {group}: no such file or directory"
        )
    created = _make(group, available.root)
    try:
        _add(group, pid, available.root)
        if _is_monitored(wanted):
            monitored = f"{group}/mon_groups/{container_id}"
            _make(monitored, available.root)
            _add(monitored, pid, available.root)
        if lines:
            set_schemata(group, lines)
    except Failure:
        _remove(group, container_id, whole=created)
        raise
    return group, created


def _is_monitored(wanted: IntelRdt) -> bool:
    return any(wanted.get(name) for name in ("enableMonitoring", "enableCMT", "enableMBM"))


def _check(wanted: IntelRdt, available: Features) -> None:
    """runc: configs/validate (intelrdtCheck)."""
    if not available.root:
        raise Failure("intelRdt is specified in config, but Intel RDT is not enabled")
    clos = wanted.get("closID") or ""
    if clos in (".", "..") or (clos != "/" and "/" in clos):
        raise Failure(f"invalid intelRdt.ClosID {quoted(clos)}")
    if wanted.get("l3CacheSchema") and not available.cache_allocation:
        raise Failure("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled")
    if wanted.get("memBwSchema") and not available.bandwidth_allocation:
        raise Failure("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled")


def _make(group: str, root: str) -> bool:
    try:
        os.mkdir(group, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise Failure(_explained(f"mkdir {group}: {reason(error)}", root)) from None
    return True


def _add(group: str, pid: int, root: str) -> None:
    try:
        _write(f"{group}/tasks", str(pid))
    except OSError as error:
        raise Failure(
            _explained(f"intelrdt: unable to add pid {pid}: write {group}/tasks: {reason(error)}", root)
        ) from None


def set_schemata(group: str, lines: list[str]) -> None:
    """Set the shares of a group, each line a resource: `L3:0=ff;1=c0`. Raises Failure with the kernel's explanation."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        _write(f"{group}/schemata", text)
    except OSError as error:
        problem = f"intelrdt: unable to write {quoted(text)}: write {group}/schemata: {reason(error)}"
        raise Failure(_explained(problem, _root_of(group))) from None


def _root_of(group: str) -> str:
    """The tree that a group is in; `closID: /` makes the tree's root itself the group."""
    return group if os.path.isdir(f"{group}/info") else os.path.dirname(group)


def _explained(problem: str, root: str) -> str:
    try:
        return f"{problem}, last_cmd_status: {_read(f'{root}/info/last_cmd_status')}"
    except OSError:
        return problem


def enter(state: SavedState, pid: int) -> None:
    """Put one more process into the group of a container that has one (runc: WriteIntelRdtTasks). Raises Failure."""
    group: str = state.get("intel_rdt_path") or ""
    monitored = f"{group}/mon_groups/{state['id']}"
    for place in (group, monitored if os.path.isdir(monitored) else ""):
        if place:
            _add(place, pid, _root_of(group))


def destroy(state: SavedState) -> None:
    """Remove the group if it was made for the container alone, its monitoring group otherwise. Raises Failure."""
    group = state.get("intel_rdt_path")
    if group:
        _remove(group, state["id"], whole=bool(state.get("intel_rdt_created")))


def _remove(group: str, container_id: str, *, whole: bool) -> None:
    path = group if whole else f"{group}/mon_groups/{container_id}"
    try:
        # In resctrl a group's directory goes with all the files in it.
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failure(f"rmdir {path}: {reason(error)}") from None


def stats(group: str, container_id: str) -> dict[str, Any]:
    """The `intel_rdt` object of a stats event. Raises Failure."""
    available = features(_root_of(group))
    try:
        return _stats(available, group, container_id)
    except OSError as error:
        raise Failure(f"unable to get container Intel RDT stats: open {error.filename}: {reason(error)}") from None


def _stats(available: Features, group: str, container_id: str) -> dict[str, Any]:
    lines = _read(f"{group}/schemata").split("\n")
    of_root = _read(f"{available.root}/schemata").split("\n")
    numbers: dict[str, Any] = {}
    if available.cache_allocation:
        numbers["l3_cache_info"] = _info(available.root, "L3", ("min_cbm_bits", "num_closids"), ("cbm_mask",))
        numbers["l3_cache_schema_root"] = _line(of_root, "L3")
        numbers["l3_cache_schema"] = _line(lines, "L3")
    if available.bandwidth_allocation:
        names = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
        numbers["mem_bw_info"] = _info(available.root, "MB", names, ())
        numbers["mem_bw_schema_root"] = _line(of_root, "MB")
        numbers["mem_bw_schema"] = _line(lines, "MB")
    numbers["schemata"] = lines
    numbers.update(_monitored(available, group, container_id))
    return compact(numbers)


def _info(root: str, resource: str, numbers: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, Any]:
    directory = f"{root}/info/{resource}"
    found: dict[str, Any] = {name: _read(f"{directory}/{name}") for name in texts}
    return compact(found | {name: int(_read(f"{directory}/{name}")) for name in numbers})


def _line(schemata: list[str], resource: str) -> str:
    return next((line.strip() for line in reversed(schemata) if resource in line), "")


def _monitored(available: Features, group: str, container_id: str) -> dict[str, Any]:
    """What each cache domain counted: for the container's own monitoring group, or else for the whole group."""
    traffic = [name for name in _TRAFFIC if name in available.monitoring]
    occupancy = _OCCUPANCY in available.monitoring
    if not traffic and not occupancy:
        return {}
    own = f"{group}/mon_groups/{container_id}"
    directory = f"{own if os.path.isdir(own) else group}/mon_data"
    domains = [f"{directory}/{name}" for name in sorted(os.listdir(directory))]
    found: dict[str, Any] = {}
    if traffic:
        found["mbm_stats"] = [
            {name: int(_read(f"{domain}/{name}")) if name in traffic else 0 for name in _TRAFFIC} for domain in domains
        ]
    if occupancy:
        found["cmt_stats"] = [{_OCCUPANCY: int(_read(f"{domain}/{_OCCUPANCY}"))} for domain in domains]
    return found


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, os.fsencode(text))
    finally:
        os.close(descriptor)
