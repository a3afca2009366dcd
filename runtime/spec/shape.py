"""The types of config.json's fields, so that the core never meets a string where it computes with a number.

runc's config goes through Go's typed decoder, which refuses a wrong type before anything is made; this table does
the same for the plain dicts. Unknown fields pass, null stands for "not given" everywhere. Source: the spec's schema.
"""

from __future__ import annotations

from typing import Any

from hookrun.runtime.errors import Failure

# A pair is a whole number with its bounds, a list holds the form of its elements, `{"*": form}` is a map with any
# keys, another dict an object with these fields.
_U8 = (0, 0xFF)
_U16 = (0, 0xFFFF)
_U32 = (0, 0xFFFFFFFF)
_U64 = (0, 0xFFFFFFFFFFFFFFFF)
_ID = (0, 0xFFFFFFFE)  # the one above is -1, which tells chown(2) to leave the owner
_I32 = (-0x80000000, 0x7FFFFFFF)
_I64 = (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF)
_STRINGS = [str]
_MAPPINGS = [{"containerID": _U32, "hostID": _U32, "size": _U32}]
_HOOKS = [{"path": str, "args": _STRINGS, "env": _STRINGS, "timeout": _I64}]
_THROTTLES = [{"major": _I64, "minor": _I64, "rate": _U64}]

CAPABILITIES = {
    "bounding": _STRINGS,
    "effective": _STRINGS,
    "inheritable": _STRINGS,
    "permitted": _STRINGS,
    "ambient": _STRINGS,
}
PROCESS = {
    "terminal": bool,
    "consoleSize": {"height": _U64, "width": _U64},
    "user": {"uid": _U32, "gid": _U32, "umask": _U32, "additionalGids": [_U32], "username": str},
    "args": _STRINGS,
    "commandLine": str,
    "env": _STRINGS,
    "cwd": str,
    "capabilities": CAPABILITIES,
    "rlimits": [{"type": str, "hard": _U64, "soft": _U64}],
    "noNewPrivileges": bool,
    "apparmorProfile": str,
    "oomScoreAdj": _I32,
    "selinuxLabel": str,
    "scheduler": {
        "policy": str,
        "nice": _I32,
        "priority": _I32,
        "flags": _STRINGS,
        "runtime": _U64,
        "deadline": _U64,
        "period": _U64,
    },
    "ioPriority": {"class": str, "priority": _I32},
    "execCPUAffinity": {"initial": str, "final": str},
}
RESOURCES = {
    "devices": [{"allow": bool, "type": str, "major": _I64, "minor": _I64, "access": str}],
    "memory": {
        "limit": _I64,
        "reservation": _I64,
        "swap": _I64,
        "kernel": _I64,
        "kernelTCP": _I64,
        "swappiness": _U64,
        "disableOOMKiller": bool,
        "useHierarchy": bool,
        "checkBeforeUpdate": bool,
    },
    "cpu": {
        "shares": _U64,
        "quota": _I64,
        "burst": _U64,
        "period": _U64,
        "realtimeRuntime": _I64,
        "realtimePeriod": _U64,
        "cpus": str,
        "mems": str,
        "idle": _I64,
    },
    "pids": {"limit": _I64},
    "blockIO": {
        "weight": _U16,
        "leafWeight": _U16,
        "weightDevice": [{"major": _I64, "minor": _I64, "weight": _U16, "leafWeight": _U16}],
        "throttleReadBpsDevice": _THROTTLES,
        "throttleWriteBpsDevice": _THROTTLES,
        "throttleReadIOPSDevice": _THROTTLES,
        "throttleWriteIOPSDevice": _THROTTLES,
    },
    "hugepageLimits": [{"pageSize": str, "limit": _U64}],
    "network": {"classID": _U32, "priorities": [{"name": str, "priority": _U32}]},
    "rdma": {"*": {"hcaHandles": _U32, "hcaObjects": _U32}},
    "unified": {"*": str},
}
_LINUX = {
    "uidMappings": _MAPPINGS,
    "gidMappings": _MAPPINGS,
    "sysctl": {"*": str},
    "resources": RESOURCES,
    "cgroupsPath": str,
    "namespaces": [{"type": str, "path": str}],
    "devices": [
        {"path": str, "type": str, "major": _I64, "minor": _I64, "fileMode": _U32, "uid": _ID, "gid": _ID},
    ],
    "netDevices": {"*": {"name": str}},
    "seccomp": {
        "defaultAction": str,
        "defaultErrnoRet": _U32,
        "architectures": _STRINGS,
        "flags": _STRINGS,
        "listenerPath": str,
        "listenerMetadata": str,
        "syscalls": [
            {
                "names": _STRINGS,
                "action": str,
                "errnoRet": _U32,
                "args": [{"index": _U32, "value": _U64, "valueTwo": _U64, "op": str}],
            }
        ],
    },
    "rootfsPropagation": str,
    "maskedPaths": _STRINGS,
    "readonlyPaths": _STRINGS,
    "mountLabel": str,
    "intelRdt": {
        "closID": str,
        "schemata": _STRINGS,
        "l3CacheSchema": str,
        "memBwSchema": str,
        "enableMonitoring": bool,
        "enableCMT": bool,
        "enableMBM": bool,
    },
    "memoryPolicy": {"mode": str, "nodes": str, "flags": _STRINGS},
    "personality": {"domain": str, "flags": _STRINGS},
    "timeOffsets": {"*": {"secs": _I64, "nanosecs": _U32}},
}
CONFIG = {
    "ociVersion": str,
    "process": PROCESS,
    "root": {"path": str, "readonly": bool},
    "hostname": str,
    "domainname": str,
    "mounts": [
        {
            "destination": str,
            "type": str,
            "source": str,
            "options": _STRINGS,
            "uidMappings": _MAPPINGS,
            "gidMappings": _MAPPINGS,
        }
    ],
    "hooks": {
        "prestart": _HOOKS,
        "createRuntime": _HOOKS,
        "createContainer": _HOOKS,
        "startContainer": _HOOKS,
        "poststart": _HOOKS,
        "poststop": _HOOKS,
    },
    "annotations": {"*": str},
    "linux": _LINUX,
}


class _Misfit(Exception):
    """A value that is not of its form."""


def check(value: Any, form: Any, place: str) -> None:
    """Raise Failure where a value, or anything in it, is not of the form; `place` names it, `config.json` or so."""
    path: list[str] = []
    try:
        _walk(value, form, path)
    except _Misfit as misfit:
        field = ".".join(path)
        raise Failure(f"{place}: {field}: {misfit}" if field else f"{place}: {misfit}") from None


def _walk(value: Any, form: Any, path: list[str]) -> None:
    """Visit a value; where it does not fit, `path` is left leading to it."""
    if value is None:
        return
    if form is str:
        _check_string(value)
    elif form is bool:
        if not isinstance(value, bool):
            raise _Misfit(f"must be true or false, not {_kind(value)}")
    elif isinstance(form, tuple):
        _check_number(value, form)
    elif isinstance(form, list):
        _walk_list(value, form[0], path)
    else:
        _walk_object(value, form, path)


def _check_string(value: Any) -> None:
    if not isinstance(value, str):
        raise _Misfit(f"must be a string, not {_kind(value)}")
    if "\0" in value:
        raise _Misfit("contains a null byte")


def _check_number(value: Any, bounds: tuple[int, int]) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Misfit(f"must be a whole number, not {_kind(value)}")
    if not bounds[0] <= value <= bounds[1]:
        raise _Misfit(f"{value} is out of range ({bounds[0]} to {bounds[1]})")


def _walk_list(value: Any, form: Any, path: list[str]) -> None:
    if not isinstance(value, list):
        raise _Misfit(f"must be a list, not {_kind(value)}")
    # The longest lists at one go: seccomp names hundreds of system calls.
    if form is str and all(type(element) is str and "\0" not in element for element in value):
        return
    for index, element in enumerate(value):
        path.append(str(index))
        if element is None:
            raise _Misfit("must not be null")
        _walk(element, form, path)
        path.pop()


def _walk_object(value: Any, form: dict[str, Any], path: list[str]) -> None:
    if not isinstance(value, dict):
        raise _Misfit(f"must be an object, not {_kind(value)}")
    every = form.get("*")
    for name, element in value.items():
        wanted = every or form.get(name)
        if wanted:
            path.append(name)
            _walk(element, wanted, path)
            path.pop()


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"
