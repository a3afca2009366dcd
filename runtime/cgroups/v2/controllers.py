"""What each v2 controller does with `linux.resources` (runc: cgroups/fs2, one file a controller)."""

from __future__ import annotations

import errno
import os
from typing import Any

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.resources import (
    io_weight_of_block_weight,
    pids_text,
    swap_alone,
    weight_of_shares,
)
from hookrun.runtime.cgroups.v1.controllers import set_cpuset, set_hugetlb, set_rdma
from hookrun.runtime.documents import BlockIO, Cpu, Memory, Resources, Throttle
from hookrun.runtime.errors import Failure, quoted

# The kernel's own period, for a quota without one (admin-guide/cgroup-v2.rst, cpu.max).
_DEFAULT_PERIOD = 100000


def needed(resources: Resources) -> set[str]:
    """The controllers that these resources need."""
    memory, cpu, block = resources.get("memory") or {}, resources.get("cpu") or {}, resources.get("blockIO") or {}
    wants = {
        "pids": (resources.get("pids") or {}).get("limit") is not None,
        "memory": any(memory.get(name) for name in ("limit", "reservation", "swap")),
        "io": bool(block.get("weight") or block.get("weightDevice") or any(_throttles(block).values())),
        "cpu": any(cpu.get(name) for name in ("shares", "quota", "period"))
        or any(cpu.get(name) is not None for name in ("idle", "burst")),
        "cpuset": bool(cpu.get("cpus") or cpu.get("mems")),
        "hugetlb": bool(resources.get("hugepageLimits")),
    }
    return {name for name, wanted in wants.items() if wanted}


def apply(path: str, resources: Resources) -> None:
    """Set every limit but the device rules and `unified`."""
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        files.write(path, "pids.max", pids_text(limit))
    _set_memory(path, resources.get("memory") or {})
    _set_io(path, resources.get("blockIO") or {})
    _set_cpu(path, resources.get("cpu") or {})
    set_cpuset(path, resources)
    set_hugetlb(path, resources, "max")
    set_rdma(path, resources)


def _set_memory(path: str, memory: Memory) -> None:
    limit, both = memory.get("limit") or 0, memory.get("swap") or 0
    if not (limit or both or memory.get("reservation")):
        return
    if memory.get("checkBeforeUpdate"):
        check_usage(path, limit, both)
    swap = swap_alone(both, limit)
    if swap or both > 0:
        _set_swap(path, _text(swap))
    if limit:
        files.write(path, "memory.max", _text(limit))
    if memory.get("reservation"):
        files.write(path, "memory.low", _text(memory["reservation"]))


def _text(limit: int) -> str:
    return "max" if limit == -1 else str(limit)


def _set_swap(path: str, value: str) -> None:
    try:
        files.write(path, "memory.swap.max", value)
    except files.FileError as error:
        # Without swap accounting, having no swap and having all of it are the same.
        if error.errno != errno.ENOENT or value not in ("max", "0"):
            raise


def check_usage(path: str, limit: int, both: int) -> None:
    """checkBeforeUpdate: refuse a limit that would have processes killed at once."""
    try:
        usage = files.read_number(path, "memory.current")
    except files.FileError:
        return
    if 0 < both <= usage:
        raise Failure(f"rejecting memory+swap limit {both} <= usage {usage}")
    if 0 < limit <= usage:
        raise Failure(f"rejecting memory limit {limit} <= usage {usage}")


def _set_io(path: str, block: BlockIO) -> None:
    weight, devices = block.get("weight") or 0, block.get("weightDevice") or ()
    if weight or devices:
        if os.path.exists(f"{path}/io.bfq.weight"):
            _set_bfq_weights(path, weight, devices)
        elif weight:
            files.write(path, "io.weight", str(io_weight_of_block_weight(weight)))
    for key, throttles in _throttles(block).items():
        for throttle in throttles or ():
            numbers = f"{throttle.get('major') or 0}:{throttle.get('minor') or 0}"
            files.write(path, "io.max", f"{numbers} {key}={throttle.get('rate') or 0}")


def _throttles(block: BlockIO) -> dict[str, list[Throttle] | None]:
    """The limits by their keys in io.max."""
    return {
        "rbps": block.get("throttleReadBpsDevice"),
        "wbps": block.get("throttleWriteBpsDevice"),
        "riops": block.get("throttleReadIOPSDevice"),
        "wiops": block.get("throttleWriteIOPSDevice"),
    }


def _set_bfq_weights(path: str, weight: int, devices: Any) -> None:
    if weight:
        files.write(path, "io.bfq.weight", str(weight))
    for device in devices:
        text = f"{device.get('major') or 0}:{device.get('minor') or 0} {device.get('weight') or 0}"
        try:
            files.write(path, "io.bfq.weight", text + "\n")
        except files.FileError as error:
            raise Failure(f"setting device weight {quoted(text)}: {error.text}") from None


def _set_cpu(path: str, cpu: Cpu) -> None:
    if cpu.get("idle") is not None:
        files.write(path, "cpu.idle", str(cpu["idle"]))
    if cpu.get("shares"):
        files.write(path, "cpu.weight", str(weight_of_shares(cpu["shares"])))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    burst_set = cpu.get("burst") is None or _set_burst(path, cpu["burst"], may_wait=bool(quota))
    if quota or period:
        files.write(path, "cpu.max", f"{quota if quota > 0 else 'max'} {period or _DEFAULT_PERIOD}")
        if not burst_set:
            _set_burst(path, cpu["burst"], may_wait=False)


def _set_burst(path: str, burst: int, *, may_wait: bool) -> bool:
    """Set the burst; False where the kernel refuses it beside the present quota and a new one is to come."""
    try:
        files.write(path, "cpu.max.burst", str(burst))
    except files.FileError as error:
        if error.errno == errno.EINVAL and may_wait:
            return False
        raise
    return True


def apply_unified(path: str, unified: dict[str, str]) -> None:
    """Write the files that the config names itself."""
    for name, value in unified.items():
        if "/" in name:
            raise Failure(f"unified resource {quoted(name)} must be a file name (no slashes)")
        try:
            files.write(path, name, *value.splitlines(keepends=True))
        except files.FileError as error:
            raise _unified_failure(path, name, error) from None


def _unified_failure(path: str, name: str, error: files.FileError) -> Failure:
    if error.errno in (*files.DENIED, errno.ENOENT):
        controller, separator, _ = name.partition(".")
        if not separator:
            return Failure(f"unified resource {quoted(name)} must be in the form CONTROLLER.PARAMETER")
        if controller != "cgroup" and controller not in files.read(path, "cgroup.controllers").split():
            return Failure(f'unified resource {quoted(name)} can\'t be set: controller "{controller}" not available')
    return Failure(f"unable to set unified resource {quoted(name)}: {error.text}")
