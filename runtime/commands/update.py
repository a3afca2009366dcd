"""`update`: change the limits of a container that runs (runc: update.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import rdt
from hookrun.runtime.cgroups import resources as limits
from hookrun.runtime.cgroups.manager import Manager
from hookrun.runtime.cgroups.resources import section
from hookrun.runtime.container import container as containers
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.documents import Resources
from hookrun.runtime.errors import Failure, failing, quoted
from hookrun.runtime.linux import files
from hookrun.runtime.spec import go_decoder, shape

_INT64 = (-(1 << 63), (1 << 63) - 1)
_UINT64 = (0, (1 << 64) - 1)
_MOST_DIGITS = 4000  # of more Python makes no number

# Flag -> section, field; in the order in which runc looks at them, which is that of its errors.
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_NUMBERS = {
    "cpu-idle": ("cpu", "idle", _INT64),
    "cpu-burst": ("cpu", "burst", _UINT64),
    "cpu-period": ("cpu", "period", _UINT64),
    "cpu-rt-period": ("cpu", "realtimePeriod", _UINT64),
    "cpu-share": ("cpu", "shares", _UINT64),
    "cpu-quota": ("cpu", "quota", _INT64),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", _INT64),
}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "memory-reservation": ("memory", "reservation"),
}
_SIZE_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}

# What an update that does not name it leaves as it is.
_LASTING = {
    "memory": ("limit", "reservation", "swap", "checkBeforeUpdate"),
    "cpu": ("shares", "realtimeRuntime", "realtimePeriod"),
    "blockIO": ("weight", "leafWeight"),
}
# What one that does not name it takes from the container's record; the kernel's value stays.
_PASSING = {"cpu": ("burst", "cpus", "mems", "idle"), "pids": ("limit",)}
_BLOCK_DEVICES = (
    "weightDevice",
    "throttleReadBpsDevice",
    "throttleWriteBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Set the limits that the flags, or the JSON of --resources, name. Raises Failure with the old ones in force."""
    container = containers.load(context.root, arguments[0])
    resources = context.resources
    if resources is None:
        resources = wanted(options, context.given)
    _complete(resources)
    memory = section(resources, "memory")
    if memory.get("kernel") is not None or memory.get("kernelTCP") is not None:
        context.log.warning("Kernel memory settings are ignored and will be removed")
    kept = container.state["config"]["cgroups"]
    old = cast(Resources, limits.of_state(kept))
    new = merged(old, resources)
    schemata = _schemata(container, options)
    if container.status() == "stopped":
        raise Failure("container not running")
    _apply(context, container.cgroups(), new, old)
    if schemata:
        _apply_schemata(context, container, schemata, old)
    container.state["config"]["cgroups"] = {**kept, **limits.state_form(new, []), "devices": kept.get("devices")}
    container_directory.save(container)
    return 0


def wanted(options: Options, given: set[str]) -> dict[str, Any]:
    """The resources that a command line names, by the JSON of --resources or else by its flags. Raises Failure."""
    return _from_file(options["resources"]) if options["resources"] else from_flags(options, given)


def _from_file(path: str) -> dict[str, Any]:
    with failing(f"open {path}"):
        data = files.read_bytes("/dev/stdin" if path == "-" else path)
    if not data.strip():
        raise Failure("EOF")
    try:
        found = jsonio.loads(data)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    go_decoder.normalize(found, shape.RESOURCES)
    shape.check(found, shape.RESOURCES, path)
    resources: dict[str, Any] = found or {}
    return resources


def from_flags(options: Options, given: set[str]) -> dict[str, Any]:
    """The resources that the flags name. Raises Failure for a value that is no number."""
    wanted: dict[str, Any] = {"memory": {}, "cpu": {}, "pids": {}, "blockIO": {}}
    if options["blkio-weight"]:
        wanted["blockIO"]["weight"] = options["blkio-weight"] & 0xFFFF
    for flag, (part, field) in _TEXTS.items():
        if options[flag]:
            wanted[part][field] = options[flag]
    for flag, (part, field, bounds) in _NUMBERS.items():
        if options[flag]:
            wanted[part][field] = _number(flag, options[flag], bounds)
    for flag, (part, field) in _SIZES.items():
        if options[flag]:
            wanted[part][field] = -1 if options[flag] == "-1" else _size(flag, options[flag])
    if "pids-limit" in given:
        wanted["pids"]["limit"] = options["pids-limit"]
    return wanted


def _number(flag: str, text: str, bounds: tuple[int, int]) -> int:
    signed = bounds[0] < 0
    problem = f"invalid value for {flag}: strconv.Parse{'Int' if signed else 'Uint'}: parsing {quoted(text)}"
    digits = text[1:] if signed and text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        raise Failure(f"{problem}: invalid syntax")
    if len(digits) > _MOST_DIGITS or not bounds[0] <= int(text) <= bounds[1]:
        raise Failure(f"{problem}: value out of range")
    return int(text)


def _size(flag: str, text: str) -> int:
    """Bytes of a size such as `512m`, `1.5G` or `64 KiB` (docker/go-units RAMInBytes)."""
    problem = f"invalid value for {flag}:"
    split = max((index for index, letter in enumerate(text) if letter in "0123456789. "), default=-1) + 1
    number, suffix = text[:split].removesuffix(" "), text[split:].lower()
    if not split:
        raise Failure(f"{problem} invalid size: '{text}'")
    try:
        size = float(number)
    except ValueError:
        raise Failure(f"{problem} strconv.ParseFloat: parsing {quoted(number)}: invalid syntax") from None
    if size < 0:
        raise Failure(f"{problem} invalid size: '{text}'")
    if suffix not in ("", "b") and (suffix[0] not in _SIZE_UNITS or suffix[1:] not in ("", "b", "ib")):
        raise Failure(f"{problem} invalid suffix: '{suffix}'")
    size *= 1 << _SIZE_UNITS.get(suffix[:1], 0)
    if size > _INT64[1]:
        raise Failure(f"{problem} invalid size: '{text}'")
    return int(size)


def _complete(wanted: dict[str, Any]) -> None:
    """No limit on memory means none on swap; an idle container has no weight of its own."""
    memory, cpu = section(wanted, "memory"), section(wanted, "cpu")
    if memory.get("limit") == -1 and memory.get("swap") is None:
        memory["swap"] = 0
    if cpu.get("idle") is not None and cpu.get("shares") is None:
        cpu["shares"] = 0


def merged(old: Mapping[str, Any], wanted: Mapping[str, Any]) -> Resources:
    """The container's resources once `wanted` is in force, as runc puts the two together."""
    new: Any = {name: dict(value) if isinstance(value, dict) else value for name, value in old.items()}
    for part, fields in _LASTING.items():
        for field in fields:
            if section(wanted, part).get(field) is not None:
                new.setdefault(part, {})[field] = wanted[part][field]
    new.setdefault("memory", {})["checkBeforeUpdate"] = bool(section(wanted, "memory").get("checkBeforeUpdate"))
    for part, fields in _PASSING.items():
        for field in fields:
            new.setdefault(part, {})[field] = section(wanted, part).get(field)
    new["unified"] = wanted.get("unified")
    _merge_bandwidth(new["cpu"], section(wanted, "cpu"))
    for field in _BLOCK_DEVICES:
        changed = section(wanted, "blockIO").get(field)
        if changed:
            new.setdefault("blockIO", {})[field] = _merged_devices(new["blockIO"].get(field) or [], changed)
    found: Resources = new
    return found


def _merge_bandwidth(cpu: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Quota and period belong together: one alone keeps the other's old value; neither means that both are unset."""
    period, quota = wanted.get("period") or 0, wanted.get("quota") or 0
    if bool(period) == bool(quota):
        cpu["period"], cpu["quota"] = period, quota
    elif period:
        cpu["period"] = period
    else:
        cpu["quota"] = quota


def _merged_devices(old: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged_devices = [dict(device) for device in old]
    for change in wanted:
        same = [device for device in merged_devices if _place(device) == _place(change)]
        if same:
            same[-1].update({name: value for name, value in change.items() if value is not None})
        else:
            merged_devices.append(dict(change))
    return merged_devices


def _place(device: dict[str, Any]) -> tuple[int, int]:
    return device.get("major") or 0, device.get("minor") or 0


def _apply(context: Context, manager: Manager, new: Resources, old: Resources) -> None:
    try:
        manager.apply(new)
    except Failure:
        _restore(context, manager, old)
        raise


def _restore(context: Context, manager: Manager, old: Resources) -> None:
    try:
        manager.apply(old)
    except Failure as error:
        context.log.warning(
            f"Setting back cgroup configs failed due to error: {error.text}, "
            "your state.json and actual configs might be inconsistent."
        )


def _schemata(container: Container, options: Options) -> list[str]:
    """The Intel RDT lines of the flags. Raises Failure where the host or the container has no such thing."""
    wanted = [options["l3-cache-schema"], options["mem-bw-schema"]]
    if not any(wanted):
        return []
    available = rdt.features()
    if wanted[0] and not available.cache_allocation:
        raise Failure("Intel RDT/CAT: l3 cache schema is not enabled")
    if wanted[1] and not available.bandwidth_allocation:
        raise Failure("Intel RDT/MBA: memory bandwidth schema is not enabled")
    if not container.state.get("intel_rdt_path"):
        raise Failure("updating a non-existent Intel RDT configuration is not supported")
    return [line for line in wanted if line]


def _apply_schemata(context: Context, container: Container, schemata: list[str], old: Resources) -> None:
    try:
        rdt.set_schemata(container.state["intel_rdt_path"], schemata)
    except Failure:
        _restore(context, container.cgroups(), old)
        raise
