"""What each v1 controller does with `linux.resources` (runc: cgroups/fs, one file a controller)."""

from __future__ import annotations

import errno
import os

from hookrun.runtime.cgroups import files
from hookrun.runtime.cgroups.resources import pids_text
from hookrun.runtime.documents import Cpu, Resources, Throttle, WeightDevice
from hookrun.runtime.errors import Failure


def create(name: str, path: str, resources: Resources) -> list[str]:
    """Make the cgroup of a controller so that a process may enter; the directories that were made, outermost first."""
    if name == "cpuset":
        made = _create_cpuset(os.path.dirname(path)) + files.make_directories(path)
        set_cpuset(path, resources)
        _inherit_cpuset(path)
        return made
    made = files.make_directories(path)
    if name == "cpu":
        # A real-time process may enter only where real-time has been granted.
        _set_realtime(path, resources.get("cpu") or {})
    return made


def apply(name: str, path: str, resources: Resources) -> None:
    """Set the limits of one controller; `path` "" where the container has no such cgroup."""
    _SETTERS[name](path, resources)


def _create_cpuset(path: str) -> list[str]:
    """An empty cpuset has nothing to give, so each such parent, new or not, gets what its own parent has."""
    if os.path.isdir(path):
        if not (files.read(path, "cpuset.cpus") and files.read(path, "cpuset.mems")):
            _create_cpuset(os.path.dirname(path))
            _inherit_cpuset(path)
        return []
    made = _create_cpuset(os.path.dirname(path)) + files.make_directories(path)
    _inherit_cpuset(path)
    return made


def _inherit_cpuset(path: str) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not files.read(path, name):
            files.write(path, name, files.read(os.path.dirname(path), name))


def set_cpuset(path: str, resources: Resources) -> None:
    cpu = resources.get("cpu") or {}
    if cpu.get("cpus"):
        files.write(path, "cpuset.cpus", cpu["cpus"])
    if cpu.get("mems"):
        files.write(path, "cpuset.mems", cpu["mems"])


def _set_memory(path: str, resources: Resources) -> None:
    memory = resources.get("memory") or {}
    _set_memory_and_swap(path, memory.get("limit") or 0, memory.get("swap") or 0)
    if memory.get("reservation"):
        files.write(path, "memory.soft_limit_in_bytes", str(memory["reservation"]))
    if memory.get("kernelTCP"):
        files.write(path, "memory.kmem.tcp.limit_in_bytes", str(memory["kernelTCP"]))
    if memory.get("disableOOMKiller"):
        files.write(path, "memory.oom_control", "1")
    swappiness = memory.get("swappiness")
    if swappiness is None or swappiness == files.UNLIMITED:
        return
    if swappiness > 100:
        raise Failure(f"invalid memory swappiness value: {swappiness} (valid range is 0-100)")
    files.write(path, "memory.swappiness", str(swappiness))


def _set_memory_and_swap(path: str, limit: int, swap: int) -> None:
    """The kernel demands limit <= memsw at every moment, so the one that moves away from the other goes first."""
    if limit == -1 and swap == 0 and os.path.exists(f"{path}/memory.memsw.limit_in_bytes"):
        swap = -1
    swap_first = limit and swap and (swap == -1 or files.read_number(path, "memory.limit_in_bytes") < swap)
    if swap_first:
        _set_swap(path, swap)
    if limit:
        _set_limit(path, limit)
    if not swap_first:
        _set_swap(path, swap)


def _set_limit(path: str, limit: int) -> None:
    try:
        files.write(path, "memory.limit_in_bytes", str(limit))
    except files.FileError as error:
        if error.errno != errno.EBUSY:
            raise
        usage = files.read_number(path, "memory.usage_in_bytes")
        peak = files.read_number(path, "memory.max_usage_in_bytes")
        raise Failure(f"unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})") from None


def _set_swap(path: str, swap: int) -> None:
    if swap:
        files.write(path, "memory.memsw.limit_in_bytes", str(swap))


def _set_cpu(path: str, resources: Resources) -> None:
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        _set_shares(path, cpu["shares"])
    _set_bandwidth(path, cpu)
    if cpu.get("idle") is not None:
        files.write(path, "cpu.idle", str(cpu["idle"]))
    _set_realtime(path, cpu)


def _set_shares(path: str, shares: int) -> None:
    files.write(path, "cpu.shares", str(shares))
    taken = files.read_number(path, "cpu.shares")
    if shares > taken:
        raise Failure(f"the maximum allowed cpu-shares is {taken}")
    if shares < taken:
        raise Failure(f"the minimum allowed cpu-shares is {taken}")


def _set_bandwidth(path: str, cpu: Cpu) -> None:
    """Period and burst are checked against the quota that is in force, so a refused one is tried again after it."""
    quota = cpu.get("quota") or 0
    late = []
    if cpu.get("period") and not _written(path, "cpu.cfs_period_us", cpu["period"], may_wait=bool(quota)):
        late.append(("cpu.cfs_period_us", cpu["period"]))
    if cpu.get("burst") is not None:
        try:
            if not _written(path, "cpu.cfs_burst_us", cpu["burst"], may_wait=bool(quota)):
                late.append(("cpu.cfs_burst_us", cpu["burst"]))
        except files.FileError as error:
            if error.errno != errno.ENOENT:
                raise
    if quota:
        files.write(path, "cpu.cfs_quota_us", str(quota))
        for name, value in late:
            files.write(path, name, str(value))


def _set_realtime(path: str, cpu: Cpu) -> None:
    runtime, period = cpu.get("realtimeRuntime") or 0, cpu.get("realtimePeriod") or 0
    done = not period or _written(path, "cpu.rt_period_us", period, may_wait=bool(runtime))
    if runtime:
        files.write(path, "cpu.rt_runtime_us", str(runtime))
        if not done:
            files.write(path, "cpu.rt_period_us", str(period))


def _written(path: str, name: str, value: int, *, may_wait: bool) -> bool:
    """Write a value; False where the kernel refuses it for now and `may_wait`."""
    try:
        files.write(path, name, str(value))
    except files.FileError as error:
        if error.errno == errno.EINVAL and may_wait:
            return False
        raise
    return True


def _set_pids(path: str, resources: Resources) -> None:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        files.write(path, "pids.max", pids_text(limit))


def _set_block(path: str, resources: Resources) -> None:
    block = resources.get("blockIO") or {}
    scheduler = "blkio" if os.path.exists(f"{path}/blkio.weight") else "blkio.bfq"
    if block.get("weight"):
        files.write(path, f"{scheduler}.weight", str(block["weight"]))
    if block.get("leafWeight"):
        files.write(path, "blkio.leaf_weight", str(block["leafWeight"]))
    for device in block.get("weightDevice") or ():
        if device.get("weight"):
            files.write(path, f"{scheduler}.weight_device", f"{_numbers(device)} {device['weight']}")
        if device.get("leafWeight"):
            files.write(path, "blkio.leaf_weight_device", f"{_numbers(device)} {device['leafWeight']}")
    for throttles, name in (
        (block.get("throttleReadBpsDevice"), "blkio.throttle.read_bps_device"),
        (block.get("throttleWriteBpsDevice"), "blkio.throttle.write_bps_device"),
        (block.get("throttleReadIOPSDevice"), "blkio.throttle.read_iops_device"),
        (block.get("throttleWriteIOPSDevice"), "blkio.throttle.write_iops_device"),
    ):
        for throttle in throttles or ():
            files.write(path, name, f"{_numbers(throttle)} {throttle.get('rate') or 0}")


def _numbers(device: WeightDevice | Throttle) -> str:
    return f"{device.get('major') or 0}:{device.get('minor') or 0}"


def _set_hugetlb(path: str, resources: Resources) -> None:
    set_hugetlb(path, resources, "limit_in_bytes")


def set_hugetlb(path: str, resources: Resources, suffix: str) -> None:
    """Limit huge pages, and their reservations where the kernel (5.7) counts those."""
    for limit in resources.get("hugepageLimits") or ():
        prefix = f"hugetlb.{limit.get('pageSize') or ''}"
        value = str(limit.get("limit") or 0)
        files.write(path, f"{prefix}.{suffix}", value)
        try:
            files.write(path, f"{prefix}.rsvd.{suffix}", value)
        except files.FileError as error:
            if error.errno != errno.ENOENT:
                raise


def _set_net_cls(path: str, resources: Resources) -> None:
    class_id = (resources.get("network") or {}).get("classID")
    if class_id:
        files.write(path, "net_cls.classid", str(class_id))


def _set_net_prio(path: str, resources: Resources) -> None:
    for entry in (resources.get("network") or {}).get("priorities") or ():
        files.write(path, "net_prio.ifpriomap", f"{entry.get('name') or ''} {entry.get('priority') or 0}")


def set_rdma(path: str, resources: Resources) -> None:
    for device, given in (resources.get("rdma") or {}).items():
        words, limits = [device], given or {}
        if limits.get("hcaHandles") is not None:
            words.append(f"hca_handle={limits['hcaHandles']}")
        if limits.get("hcaObjects") is not None:
            words.append(f"hca_object={limits['hcaObjects']}")
        files.write(path, "rdma.max", " ".join(words))


_SETTERS = {
    "cpuset": set_cpuset,
    "memory": _set_memory,
    "cpu": _set_cpu,
    "pids": _set_pids,
    "blkio": _set_block,
    "hugetlb": _set_hugetlb,
    "net_cls": _set_net_cls,
    "net_prio": _set_net_prio,
    "rdma": set_rdma,
}
