"""The word `resources`: defaults and ceilings for memory, swap, CPUs and processes, however a config sets them.

A limit has three spellings: a field of `linux.resources`; on cgroup v2 a file in `linux.resources.unified`, which is
written after it and so counts (config-linux.md "Unified"); with the systemd driver an annotation
`org.systemd.property.NAME`, which is a property of the container's unit (runc: docs/systemd.md).
"""

from __future__ import annotations

from typing import Any

from hookrun.policies.draft import Draft
from hookrun.policies.pointer import Fault, part

Config = dict[str, Any]

_CPU_PERIOD = 100_000  # microseconds, the kernel's default
_UNLIMITED = "max"
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}  # the kernel's memparse()
_SYSTEMD = "org.systemd.property."

_FIELDS = {"memory": ("memory", "limit"), "memorySwap": ("memory", "swap"), "pids": ("pids", "limit")}
_FILES = {"memory": "memory.max", "memorySwap": "memory.swap.max", "cpus": "cpu.max", "pids": "pids.max"}
# By their beginnings: systemd has MemoryMaxScale and CPUQuotaPeriodUSec besides.
_PROPERTIES = {
    "memory": ("MemoryMax", "MemoryLimit"),
    "memorySwap": ("MemorySwapMax",),
    "cpus": ("CPUQuota",),
    "pids": ("TasksMax",),
}


def default(draft: Draft, values: dict[str, float]) -> None:
    """Set the limits that a config leaves open."""
    for kind, value in values.items():
        if _limit(draft.root, kind) is None and _in_file(draft.root, kind) is None:
            _set_limit(draft, kind, value)


def cap(draft: Draft, values: dict[str, float]) -> None:
    """Bring the limits down to the ceilings, wherever they are set."""
    for kind, ceiling in values.items():
        present = _limit(draft.root, kind)
        if present is None or present > ceiling:
            _set_limit(draft, kind, ceiling)
        _cap_file(draft, kind, ceiling)
        _drop_properties(draft, kind, ceiling)


def _limit(config: Config, kind: str) -> float | None:
    """A resource's limit by the fields, None where it has none: bytes, number of CPUs or of processes."""
    if kind == "cpus":
        quota = _number(config, "cpu", "quota")
        return quota / (_number(config, "cpu", "period") or _CPU_PERIOD) if quota else None
    return _number(config, *_FIELDS[kind])


def _number(config: Config, *names: str) -> float | None:
    """A number that limits something: absent, 0 and negative ones do not (runtime-spec config-linux.md)."""
    value = part(config, "linux", "resources", *names)
    if value is not None and not isinstance(value, int):
        raise Fault(f"/linux/resources/{'/'.join(names)} must be a number")
    return value if value and value > 0 else None


def _set_limit(draft: Draft, kind: str, value: float) -> None:
    if kind == "cpus":
        cpu = draft.object("linux", "resources", "cpu")
        period = cpu.get("period") or _CPU_PERIOD
        cpu["period"] = period
        cpu["quota"] = int(value * period)
        return
    section, field = _FIELDS[kind]
    draft.object("linux", "resources", section)[field] = int(value)
    if kind == "memorySwap":  # a limit on both needs one on memory, which can't be the higher one
        limit = _number(draft.root, "memory", "limit")
        if limit is None or limit > value:
            draft.object("linux", "resources", "memory")["limit"] = int(value)


def _in_file(config: Config, kind: str) -> Any:
    return part(config, "linux", "resources", "unified", _FILES[kind])


def _cap_file(draft: Draft, kind: str, ceiling: float) -> None:
    text = _in_file(draft.root, kind)
    if text is None:
        return
    if kind == "cpus":
        quota, _, rest = str(text).strip().partition(" ")
        period = _amount(rest) or _CPU_PERIOD
        allowed = f"{int(ceiling * period)} {int(period)}"
        is_within = _amount(quota) is not None and (_amount(quota) or 0) / period <= ceiling
    else:
        allowed, amount = str(int(ceiling)), _amount(str(text))
        is_within = amount is not None and amount <= ceiling
    if not is_within:
        draft.object("linux", "resources", "unified")[_FILES[kind]] = allowed


def _amount(text: str) -> float | None:
    """A number as the kernel reads it from a cgroup's file; None for `max` and for what may mean more than it says."""
    text = text.strip().lower()
    digits = text[:-1] if text[-1:] in _SUFFIXES else text
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and digits != "0"):
        return None
    return int(digits) << _SUFFIXES.get(text[-1], 0)


def _drop_properties(draft: Draft, kind: str, ceiling: float) -> None:
    """Take away the annotations that would raise a unit's limit: the one that the config sets is left."""
    annotations = draft.root.get("annotations") or {}
    for key in list(annotations):
        name = key.removeprefix(_SYSTEMD)
        if name != key and name.startswith(_PROPERTIES[kind]) and not _is_lower(kind, name, annotations[key], ceiling):
            draft.object("annotations").pop(key)


def _is_lower(kind: str, name: str, text: Any, ceiling: float) -> bool:
    """Whether a property is a plain number (a GVariant text as `uint64 512`) that is within the ceiling."""
    if name not in (*_PROPERTIES[kind], "CPUQuotaPerSecUSec") or not isinstance(text, str):
        return False
    amount = _amount(text.removeprefix("uint64 "))
    return amount is not None and amount <= (ceiling * 1_000_000 if kind == "cpus" else ceiling)
