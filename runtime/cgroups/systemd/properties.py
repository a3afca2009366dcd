"""`linux.resources`, device rules and annotations as properties of a systemd unit (runc: cgroups/systemd).

Source for the properties: systemd.resource-control(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from hookrun.runtime.cgroups.devices.rules import ANY, Access, Device, Rule
from hookrun.runtime.cgroups.resources import swap_alone, weight_of_shares
from hookrun.runtime.cgroups.systemd import gvariant
from hookrun.runtime.cgroups.systemd.dbus import Variant
from hookrun.runtime.documents import Cpu, Resources
from hookrun.runtime.errors import Failure, quoted
from hookrun.runtime.linux.cpus import numbers_of

Properties = list[tuple[str, Variant]]

INFINITY = (1 << 64) - 1
_ANNOTATION = "org.systemd.property."
_SECOND = 1_000_000
_DEFAULT_PERIOD = 100_000
# systemd keeps a quota as hundredths of a CPU.
_QUOTA_STEP = _SECOND // 100

# The systemd versions that brought a property.
_QUOTA_PERIOD_SINCE, _CPUSET_SINCE, _IDLE_SINCE = 242, 244, 252

_UNIFIED_MEMORY = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
}
_UNIFIED_CPUSET = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def of_annotations(annotations: dict[str, str]) -> Properties:
    """The properties that `org.systemd.property.NAME` annotations give. Raises Failure for a bad one."""
    return [_of_annotation(key, text) for key, text in annotations.items() if key.startswith(_ANNOTATION)]


def _of_annotation(key: str, text: str) -> tuple[str, Variant]:
    name = key.removeprefix(_ANNOTATION)
    if len(name) < 3:
        raise Failure(f"annotation {key} name incorrect: too short")
    if not (name.isascii() and name.isalpha()):
        raise Failure(f"annotation {key} name incorrect: contains non-alphabetic character")
    try:
        value = gvariant.parse(text)
        stem = name.removesuffix("Sec")
        # TimeoutStopSec is for unit files; on the bus it is TimeoutStopUSec, in microseconds.
        if stem != name and stem[-1:].islower():
            return f"{stem}USec", gvariant.seconds_to_microseconds(value)
    except ValueError as error:
        raise Failure(f"annotation {key}={text} value parse error: {error}") from None
    return name, value


def of_devices(rules: list[Rule]) -> Properties:
    """The device rules; what systemd can't express follows from the cgroup itself, which is set afterwards.

    Raises Failure for rules that do not go together.
    """
    try:
        access = Access(rules)
    except Failure as error:
        raise Failure(f"unable to apply rule for systemd: {error.text}") from None
    emptied = ("DeviceAllow", Variant("a(ss)", []))
    if access.allows:
        return [emptied, ("DevicePolicy", Variant("s", "strict" if access.exceptions else "auto"))]
    allowed = [_device_entry(device, letters) for device, letters in access.ordered()]
    entries = [entry for entry in allowed if entry is not None]
    return [emptied, ("DevicePolicy", Variant("s", "strict")), ("DeviceAllow", Variant("a(ss)", entries))]


def _device_entry(device: Device, letters: frozenset[str]) -> tuple[str, str] | None:
    kind, major, minor = device
    access = "".join(letter for letter in "rwm" if letter in letters)
    family = "block" if kind == "b" else "char"
    if major == ANY:
        # There is no `*:5` in systemd.
        return (f"{family}-*", access) if minor == ANY else None
    return (f"{family}-{major}", access) if minor == ANY else (f"/dev/{family}/{major}:{minor}", access)


def rounded(resources: Resources) -> Resources:
    """The resources with the quota that systemd will keep, so that the cgroup is not set to another."""
    cpu = resources.get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or _DEFAULT_PERIOD
    if quota <= 0:
        return resources
    return {**resources, "cpu": {**cpu, "quota": _per_second(quota, period) * period // _SECOND}}


def _per_second(quota: int, period: int) -> int:
    per_second = quota * _SECOND // period
    return -(-per_second // _QUOTA_STEP) * _QUOTA_STEP


def _of_bandwidth(quota: int, period: int, version: int) -> Properties:
    found: Properties = []
    if period and version >= _QUOTA_PERIOD_SINCE:
        found.append(("CPUQuotaPeriodUSec", Variant("t", period)))
    if quota or period:
        share = _per_second(quota, period or _DEFAULT_PERIOD) if quota > 0 else INFINITY
        found.append(("CPUQuotaPerSecUSec", Variant("t", share)))
    return found


def _of_cpuset(cpu: Cpu, version: int) -> Properties:
    if version < _CPUSET_SINCE:
        return []
    return [
        (name, Variant("ay", _bits(ranges, f"resources.CPU.{field}")))
        for field, ranges, name in (
            ("Cpus", cpu.get("cpus"), "AllowedCPUs"),
            ("Mems", cpu.get("mems"), "AllowedMemoryNodes"),
        )
        if ranges
    ]


def _bits(ranges: str, place: str) -> bytes:
    """A list such as `0-2,7` as a bit mask, lowest byte first. Raises Failure."""
    try:
        mask = sum(1 << number for number in numbers_of(ranges))
    except ValueError:
        raise Failure(f"{place}={quoted(ranges)} conversion error: invalid syntax") from None
    if not mask:
        raise Failure(f"{place}={quoted(ranges)} conversion error: empty value")
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _of_pids(resources: Resources) -> Properties:
    limit = (resources.get("pids") or {}).get("limit")
    if limit is None:
        return []
    return [("TasksMax", Variant("t", INFINITY if limit < 0 else limit or 1))]


def of_resources_v1(resources: Resources, version: int) -> Properties:
    """The limits of a unit on v1."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found: Properties = []
    for name, value in (
        ("MemoryLimit", memory.get("limit")),
        ("CPUShares", cpu.get("shares")),
        ("BlockIOWeight", (resources.get("blockIO") or {}).get("weight")),
    ):
        if value:
            found.append((name, Variant("t", value & INFINITY)))
    found += _of_bandwidth(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    return found + _of_pids(resources) + _of_cpuset(cpu, version)


def of_resources_v2(resources: Resources, version: int) -> Properties:
    """The limits of a unit on v2; `unified` comes last and so counts."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    limit = memory.get("limit") or 0
    idle = cpu.get("idle") == 1 and version >= _IDLE_SINCE
    weight = weight_of_shares(cpu.get("shares") or 0)
    found: Properties = []
    for name, value in (
        ("MemoryMax", limit),
        ("MemoryLow", memory.get("reservation") or 0),
        ("MemorySwapMax", swap_alone(memory.get("swap") or 0, limit)),
    ):
        if value:
            found.append((name, Variant("t", value & INFINITY)))
    if idle or weight:
        # A weight of 0 is systemd's word for idle.
        found.append(("CPUWeight", Variant("t", 0 if idle else weight)))
    found += _of_bandwidth(cpu.get("quota") or 0, cpu.get("period") or 0, version)
    found += _of_pids(resources) + _of_cpuset(cpu, version)
    return found + _of_unified(resources.get("unified") or {}, version)


def _of_unified(unified: dict[str, str], version: int) -> Properties:
    idle = unified.get("cpu.idle", "").strip() == "1" and version >= _IDLE_SINCE
    found: Properties = []
    for name, text in unified.items():
        if "/" in name:
            raise Failure(f"unified resource {quoted(name)} must be a file name (no slashes)")
        if name.find(".") <= 0:
            raise Failure(f"unified resource {quoted(name)} must be in the form CONTROLLER.PARAMETER")
        try:
            found += _of_unified_file(name, text.strip(), version, idle=idle)
        except ValueError:
            raise Failure(f"unified resource {quoted(name)} value conversion error: {quoted(text)}") from None
    return found


def _of_unified_file(name: str, text: str, version: int, *, idle: bool) -> Properties:
    if name.startswith("cpu."):
        return _of_unified_cpu(name, text, version, idle=idle)
    if name in _UNIFIED_CPUSET and version >= _CPUSET_SINCE:
        return [(_UNIFIED_CPUSET[name], Variant("ay", _bits(text, f"unified resource {quoted(name)}")))]
    if name in _UNIFIED_MEMORY:
        return [(_UNIFIED_MEMORY[name], Variant("t", INFINITY if text == "max" else int(text)))]
    if name == "pids.max":
        return [("TasksMax", Variant("t", INFINITY if text == "max" else int(text) or 1))]
    return []


def _of_unified_cpu(name: str, text: str, version: int, *, idle: bool) -> Properties:
    if name == "cpu.max":
        quota, period = text.split() if " " in text else (text, str(_DEFAULT_PERIOD))
        return _of_bandwidth(0 if quota == "max" else int(quota), int(period), version)
    if name == "cpu.idle" and idle:
        return [("CPUWeight", Variant("t", 0))]
    if name == "cpu.weight" and not idle:
        return [("CPUWeight", Variant("t", int(text)))]
    return []
