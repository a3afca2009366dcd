"""Our schema of the OCI config: what it takes and refuses, and whether the official one agrees."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import referencing.jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookrun.policies import compiler, pointer, validation
from tests.policies.support import document
from tests.support.bundles import DEFAULT_CONFIG

OFFICIAL = Path(__file__).resolve().parents[3] / "shared/data/runtime-spec-schema"

# A config that uses much of the spec.
RICH: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 1, "umask": 63, "additionalGids": [5, 6]},
        "args": ["sh"],
        "env": ["A=b"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "ambient": []},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1024, "hard": 18446744073709551615}],
        "apparmorProfile": "p",
        "selinuxLabel": "l",
        "noNewPrivileges": True,
        "oomScoreAdj": -5,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "flags": ["SCHED_FLAG_RECLAIM"],
            "runtime": 1,
            "deadline": 2,
            "period": 3,
            "nice": -1,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
        "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "h",
    "domainname": "d",
    "mounts": [
        {
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["ro"],
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        }
    ],
    "hooks": {"poststop": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3}]},
    "annotations": {"a": "b"},
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "time", "path": "/x"}],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}],
        "netDevices": {"eth0": {"name": "in0"}},
        "cgroupsPath": "/c",
        "rootfsPropagation": "slave",
        "sysctl": {"net.x": "1"},
        "maskedPaths": ["/a"],
        "readonlyPaths": ["/b"],
        "mountLabel": "l",
        "intelRdt": {"closID": "g", "memBwSchema": "MB:0=70", "schemata": ["L3:0=f"], "enableMonitoring": True},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32"},
        "timeOffsets": {"boottime": {"secs": -5, "nanosecs": 9}},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}
            ],
        },
        "resources": {
            "devices": [{"allow": False, "type": "a", "major": -1, "access": "rwm"}],
            "memory": {"limit": -1, "swappiness": 60, "disableOOMKiller": False},
            "cpu": {"shares": 2, "quota": -1, "period": 3, "cpus": "0-3", "idle": 1},
            "pids": {"limit": 5},
            "blockIO": {
                "weight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 9}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 7, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3}},
            "unified": {"cgroup.x": "1"},
        },
    },
}

# A place, what is put there (... takes it away), and whether it is a config then.
CHANGES: list[tuple[str, Any, bool]] = [
    ("/ociVersion", ..., False),
    ("/ociVersion", 1, False),
    ("/unknown", {"x": 1}, True),
    ("/process", ..., True),
    ("/process/cwd", ..., False),
    ("/process/args", "sh", False),
    ("/process/args/0", 1, False),
    ("/process/env", {"A": "b"}, False),
    ("/process/noNewPrivileges", "yes", False),
    ("/process/user/uid", -1, False),
    ("/process/user/uid", 4294967296, False),
    ("/process/user/additionalGids/0", "5", False),
    ("/process/capabilities", ["CAP_KILL"], False),
    ("/process/capabilities/bounding", "ALL", False),
    ("/process/rlimits/0/type", "NOFILE", False),
    ("/process/rlimits/0/hard", ..., False),
    ("/process/rlimits/0/hard", -1, False),
    ("/process/scheduler/policy", "SCHED_NONE", False),
    ("/process/ioPriority/class", ..., False),
    ("/process/execCPUAffinity/initial", "a", False),
    ("/root/path", ..., False),
    ("/root/readonly", 1, False),
    ("/mounts/0/destination", ..., False),
    ("/mounts/0/options", "ro", False),
    ("/mounts/0/uidMappings/0/size", ..., False),
    ("/hooks/poststop/0/path", ..., False),
    ("/hooks/poststop/0/timeout", 0, False),
    ("/hooks/poststop", {}, False),
    ("/annotations/a", 1, False),
    ("/linux/namespaces/0/type", "net", False),
    ("/linux/namespaces/0/type", ..., False),
    ("/linux/devices/0/type", "x", False),
    ("/linux/devices/0/path", ..., False),
    ("/linux/devices/0/fileMode", 512, False),
    ("/linux/sysctl/net.x", 1, False),
    ("/linux/rootfsPropagation", "rslave", False),
    ("/linux/seccomp/defaultAction", ..., False),
    ("/linux/seccomp/defaultAction", "SCMP_ACT_NONE", False),
    ("/linux/seccomp/architectures/0", "x86_64", False),
    ("/linux/seccomp/syscalls/0/names", [], False),
    ("/linux/seccomp/syscalls/0/args/0/op", "==", False),
    ("/linux/resources/memory/limit", "1G", False),
    ("/linux/resources/memory/limit", 9223372036854775808, False),
    ("/linux/resources/cpu/shares", -1, False),
    ("/linux/resources/pids/limit", ..., False),
    ("/linux/resources/hugepageLimits/0/pageSize", "2M", False),
    ("/linux/resources/blockIO/weight", 65536, False),
    ("/linux/resources/blockIO/weightDevice/0/minor", ..., False),
    ("/linux/resources/devices/0/allow", ..., False),
    ("/linux/resources/unified", ["x"], False),
    ("/linux/resources/rdma/mlx5_1/hcaHandles", -1, False),
    ("/linux/intelRdt/memBwSchema", "L3:0=f", False),
    ("/linux/memoryPolicy/mode", "BIND", False),
    ("/linux/personality/domain", "LINUX64", False),
    ("/linux/timeOffsets/boottime/nanosecs", -1, False),
    ("/linux/netDevices/eth0", "in0", False),
    ("/linux/maskedPaths", ..., True),
    ("/vm", [], False),
]


def changed(place: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(RICH)
    tokens = pointer.parsed(place)
    parent = pointer.get(config, tokens[:-1])
    key = int(tokens[-1]) if isinstance(parent, list) else tokens[-1]
    if value is ...:
        del parent[key]
    else:
        parent[key] = value
    return config


@pytest.mark.parametrize("config", [RICH, DEFAULT_CONFIG, *validation.samples().values()])
def test_good_configs(config: dict[str, Any]) -> None:
    assert validation.faults(config) == []


@pytest.mark.parametrize(("place", "value", "good"), CHANGES, ids=[f"{place} {value}" for place, value, _ in CHANGES])
def test_changes(place: str, value: Any, good: bool) -> None:
    found = validation.faults(changed(place, value))
    assert (not found) is good, found


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft4Validator:
    if not OFFICIAL.is_dir():
        pytest.skip(f"the official schema is not at {OFFICIAL}")
    resources = []
    for path in OFFICIAL.glob("*.json"):
        contents = json.loads(path.read_text())
        contents.pop("id", None)  # they name places on the network; the files name each other by their file names
        resource = referencing.jsonschema.DRAFT4.create_resource(contents)
        resources += [(path.name, resource), (f"file:///{path.name}", resource)]
    registry = referencing.Registry().with_resources(resources)
    return jsonschema.Draft4Validator({"$ref": "file:///config-schema.json"}, registry=registry)


@pytest.mark.parametrize(
    ("place", "value", "good"),
    [*CHANGES, ("/hostname", "h", True)],
    ids=[f"{place} {value}" for place, value, _ in CHANGES] + ["rich"],
)
def test_the_official_schema_agrees(official: jsonschema.Draft4Validator, place: str, value: Any, good: bool) -> None:
    assert official.is_valid(changed(place, value)) is good


PLACES = [""]


def _places(value: Any, path: str) -> None:
    for name, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        PLACES.append(path + pointer.written((str(name),)))
        _places(part, PLACES[-1])


_places(RICH, "")
odd = st.sampled_from(
    [
        ...,
        None,
        True,
        0,
        -1,
        1.5,
        5,
        70000,
        2**32,
        2**63,
        2**64,
        "",
        "x",
        "/x",
        [],
        [1],
        ["x"],
        {},
        {"x": 1},
        {"x": "y"},
    ]
)


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck), derandomize=True)
@given(place=st.sampled_from(PLACES[1:]), value=odd)
def test_the_official_schema_agrees_on_odd_values(official: jsonschema.Draft4Validator, place: str, value: Any) -> None:
    config = changed(place, value)
    assert official.is_valid(config) == (not validation.faults(config)), (place, value)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            {"merge": {"process": {"noNewPrivileges": "yes"}}},
            "p.yaml:1:1: policy one makes an invalid config of docker's: /process/noNewPrivileges: 'yes' is not",
        ),
        (
            {"match": {"image": "never"}, "patch": [{"op": "remove", "path": "/process/cwd"}]},
            "/process: 'cwd' is a required property",
        ),
        (
            {
                "match": {"engine": "podman"},
                "patch": [{"op": "replace", "path": "/process/rlimits/0/soft", "value": -1}],
            },
            "of podman's: /process/rlimits/0/soft: -1 is less",
        ),
        (
            {"patch": [{"op": "replace", "path": "/nosuch/x", "value": -1}]},
            "policy one would deny every container like docker's: it cannot be evaluated: patch",
        ),
        ({"onError": "allow", "patch": [{"op": "replace", "path": "/nosuch/x", "value": -1}]}, ""),
        ({"deny": [{"message": "always"}], "merge": {"hostname": 1}}, "/hostname: 1 is not"),
        ({"mode": "off", "merge": {"hostname": 1}}, ""),
    ],
)
def test_what_policies_make_is_checked(spec: dict[str, Any], problem: str) -> None:
    found = validation.problems(compiler.load(document(**spec), "p.yaml"))
    assert len(found) == (1 if problem else 0), found
    assert not problem or problem in found[0]
