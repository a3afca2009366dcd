"""The config's `linux.resources`: conversions for cgroup v2, and the form that state.json keeps.

Sources: runtime-spec config-linux.md; runc specconv.CreateCgroupConfig and cgroups/utils.go for the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2
from typing import Any

from hookrun.runtime.cgroups.devices import rules as devices
from hookrun.runtime.errors import Failure


def section(resources: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the resources; an absent one and null are empty."""
    return resources.get(name) or {}


def weight_of_shares(shares: int) -> int:
    """cgroup v2's cpu.weight (1 to 10000, default 100) for v1's cpu.shares (2 to 262144, default 1024); 0 is unset.

    The curve goes through both ends and the default: 10^((l^2 + 125 l) / 612 - 7/34), l = log2(shares).
    """
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    logarithm = log2(shares)
    return ceil(10 ** ((logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34))


def io_weight_of_block_weight(weight: int) -> int:
    """cgroup v2's io.weight (1 to 10000) for v1's blkio.weight (10 to 1000); 0 is unset."""
    return 0 if weight == 0 else 1 + (weight - 10) * 9999 // 990


def swap_alone(memory_and_swap: int, memory: int) -> int:
    """cgroup v2's swap limit for v1's limit of memory and swap together; -1 is no limit, 0 unset.

    Raises Failure where the two do not fit together.
    """
    if memory == -1 and memory_and_swap == 0:
        return -1
    if memory_and_swap in (-1, 0) or memory == -1:
        return memory_and_swap
    if memory == 0:
        raise Failure("unable to set swap limit without memory limit")
    if memory < 0:
        raise Failure(f"invalid memory value: {memory}")
    if memory_and_swap < memory:
        raise Failure("memory+swap limit should be >= memory limit")
    return memory_and_swap - memory


def pids_text(limit: int) -> str:
    """What pids.max gets; 0 becomes 1, since systemd's TasksMax can't be 0 and both drivers are to agree."""
    return "max" if limit < 0 else str(limit or 1)


# runc's name in state.json, section and name in `linux.resources`, value where it is not set.
_STATE_FIELDS: tuple[tuple[str, str, str, Any], ...] = (
    ("memory", "memory", "limit", 0),
    ("memory_reservation", "memory", "reservation", 0),
    ("memory_swap", "memory", "swap", 0),
    ("memory_swappiness", "memory", "swappiness", None),
    ("oom_kill_disable", "memory", "disableOOMKiller", False),
    ("memory_check_before_update", "memory", "checkBeforeUpdate", False),
    ("cpu_shares", "cpu", "shares", 0),
    ("cpu_quota", "cpu", "quota", 0),
    ("cpu_burst", "cpu", "burst", None),
    ("cpu_period", "cpu", "period", 0),
    ("cpu_rt_quota", "cpu", "realtimeRuntime", 0),
    ("cpu_rt_period", "cpu", "realtimePeriod", 0),
    ("cpuset_cpus", "cpu", "cpus", ""),
    ("cpuset_mems", "cpu", "mems", ""),
    ("cpu_idle", "cpu", "idle", None),
    ("pids_limit", "pids", "limit", None),
    ("blkio_weight", "blockIO", "weight", 0),
    ("blkio_leaf_weight", "blockIO", "leafWeight", 0),
    ("blkio_weight_device", "blockIO", "weightDevice", None),
    ("blkio_throttle_read_bps_device", "blockIO", "throttleReadBpsDevice", None),
    ("blkio_throttle_write_bps_device", "blockIO", "throttleWriteBpsDevice", None),
    ("blkio_throttle_read_iops_device", "blockIO", "throttleReadIOPSDevice", None),
    ("blkio_throttle_write_iops_device", "blockIO", "throttleWriteIOPSDevice", None),
    ("net_cls_classid_u", "network", "classID", 0),
)
# The same for lists and maps of objects, whose fields have other names too.
_STATE_OBJECTS = {
    "hugetlb_limit": ("hugepageLimits", {"page_size": "pageSize", "limit": "limit"}),
    "net_prio_ifpriomap": ("priorities", {"interface": "name", "priority": "priority"}),
    "rdma": ("rdma", {"hca_handles": "hcaHandles", "hca_objects": "hcaObjects"}),
}


def state_form(resources: Mapping[str, Any], rules: list[devices.Rule]) -> dict[str, Any]:
    """The resources as runc's state.json has them under `config.cgroups` (cgroups.Resources' JSON names)."""
    kept: dict[str, Any] = {}
    for name, part, field, empty in _STATE_FIELDS:
        value = section(resources, part).get(field)
        kept[name] = empty if value is None else value
    network = section(resources, "network")
    for name, (field, names) in _STATE_OBJECTS.items():
        holder = network if field == "priorities" else resources
        kept[name] = _renamed(holder.get(field), {theirs: ours for ours, theirs in names.items()})
    kept["cpu_weight"] = weight_of_shares(kept["cpu_shares"])
    kept["unified"] = resources.get("unified")
    kept["freezer"] = ""
    kept["devices"] = [_device_state(rule) for rule in rules]
    return kept


def of_state(kept: dict[str, Any]) -> dict[str, Any]:
    """The resources that `state_form` was made of, without the devices."""
    resources: dict[str, Any] = {part: {} for _, part, _, _ in _STATE_FIELDS}
    for name, part, field, empty in _STATE_FIELDS:
        if kept.get(name, empty) != empty:
            resources[part][field] = kept[name]
    for name, (field, names) in _STATE_OBJECTS.items():
        if kept.get(name):
            holder = resources["network"] if field == "priorities" else resources
            holder[field] = _renamed(kept[name], names)
    if kept.get("unified"):
        resources["unified"] = kept["unified"]
    return resources


def _renamed(objects: Any, names: dict[str, str]) -> Any:
    """Objects in a list or a map, their fields renamed."""
    if not objects:
        return None
    if isinstance(objects, dict):
        return {key: _renamed([item], names)[0] for key, item in objects.items()}
    return [{names[name]: value for name, value in (item or {}).items() if name in names} for item in objects]


def _device_state(rule: devices.Rule) -> dict[str, Any]:
    allow, kind, major, minor, access = rule
    return {"type": ord(kind), "major": major, "minor": minor, "permissions": access, "allow": allow}
