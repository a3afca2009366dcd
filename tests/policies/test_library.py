"""The library: every policy compiles, its own tests pass, and it says what it breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from hookrun import policies
from hookrun.policies import compiler, decide, testing, validation
from hookrun.policies.compiler import Source
from hookrun.policies.merge import merged
from tests.policies.support import document

FILES = sorted((Path(policies.__file__).parent / "library").glob("*.yaml"))
SOURCES = [source for file in FILES for source in compiler.load(file.read_text(), str(file))]

DOCKERS: dict[str, Any] = json.loads((Path(__file__).parent / "data/docker.json").read_text())


def test_it_is_whole() -> None:
    assert {file.stem for file in FILES} == {
        "pod-security-baseline",
        "pod-security-restricted",
        "cis-docker",
        "read-only-network-files",
        "proxy-defaults",
        "no-engine-socket",
        "no-hookrun-files",
        "resource-ceilings",
        "no-new-privileges",
        "drop-net-raw",
        "hook-everywhere",
    }
    assert {file.stem for file in FILES} <= {source.name for source in compiler.ordered(SOURCES)}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_policy_of_the_library(source: Source) -> None:
    assert source.description and source.breaks
    outcomes = testing.run(source)
    assert outcomes
    assert not [outcome for outcome in outcomes if outcome.problem]


# What `docker run` was given, and what the policies say of the config that dockerd wrote for it: a part of the message,
# "" where it passes. "CIS" and "baseline" stand for the files of the library.
CAPABILITIES = "capabilities beyond the default ones"
DOCKER: list[tuple[str, str, str]] = [
    ("plain", "", ""),
    ("--privileged", CAPABILITIES, CAPABILITIES),
    ("--cap-add SYS_ADMIN", CAPABILITIES, CAPABILITIES),
    ("--cap-add ALL", CAPABILITIES, CAPABILITIES),
    ("--device /dev/null:/dev/other", "", ""),
    ("--device /dev/vda", "CIS 5.18", "raw disks"),
    ("--device-cgroup-rule 'b *:* rwm'", "CIS 5.18", "raw disks"),
    ("--device-cgroup-rule 'a *:* rwm'", "CIS 5.18", "devices of the host"),
    ("--pid host", "the host's pid namespace", "the host's pid namespace"),
    ("--ipc host", "the host's ipc namespace", "the host's ipc namespace"),
    ("--ipc shareable", "", ""),
    ("--uts host", "the host's uts namespace", ""),
    ("--network host", "the host's network namespace", "the host's network namespace"),
    ("--cgroupns host", "", ""),
    ("--cgroupns private", "", ""),
    ("--userns host", "", ""),
    ("--security-opt seccomp=unconfined", "CIS 5.22", "seccomp"),
    ("--security-opt systempaths=unconfined", "", "all of /proc"),
    ("--security-opt no-new-privileges", "", ""),
    ("-v /dev:/dev", "CIS 5.6", "mounting a path of the host"),
    ("-v /proc:/host/proc", "CIS 5.6", "mounting a path of the host"),
    ("-v /srv:/s:rshared", "CIS 5.20", "mounting a path of the host"),
    ("-v /srv:/s:rslave", "", "mounting a path of the host"),
    ("--sysctl net.ipv4.ip_forward=1", "", "the sysctl net.ipv4.ip_forward"),
    ("--ulimit nofile=100:200", "", ""),
    ("--group-add 0", "", ""),
    ("--cgroup-parent /", "CIS 5.25", ""),
    ("--memory 100m --memory-swap -1 --cpus 2 --pids-limit -1 --cpu-shares 5000", "", ""),
    ("--cpu-quota -1", "", ""),
    ("--oom-kill-disable --oom-score-adj -500 --memory 100m", "", ""),
    ("--read-only --tmpfs /tmp", "", ""),
]


def dockers_config(options: str) -> dict[str, Any]:
    """The config that dockerd 20.10 wrote for `docker run OPTIONS`, its ids made alike and its seccomp profile cut short."""
    plain = DOCKERS["plain"]
    found: dict[str, Any] = plain if options == "plain" else jsonpatch.apply_patch(plain, DOCKERS["changes"][options])
    return found


def said(file: str, config: dict[str, Any], **invocation: Any) -> decide.Outcome:
    """What a file of the library says of a config, if it alone is in force."""
    plan = compiler.plan([source for source in SOURCES if Path(source.policy.file).stem == file])
    return decide.decide(plan, config, testing.invocation({"engine": "docker", **invocation}))


@pytest.mark.parametrize(("options", "cis", "baseline"), DOCKER, ids=[row[0] for row in DOCKER])
def test_what_dockerd_writes(options: str, cis: str, baseline: str) -> None:
    config = dockers_config(options)
    for file, message in (("cis-docker", cis), ("pod-security-baseline", baseline)):
        denied = said(file, config).denied
        assert message in denied if message else not denied, f"{file}: {denied}"
    assert "no-new-privileges must be set" in said("pod-security-restricted", config).denied or options.endswith(
        "no-new-privileges"
    )


def test_all_that_dockerd_wrote_is_looked_at() -> None:
    assert {row[0] for row in DOCKER} == {"plain", *DOCKERS["changes"]}


def test_ceilings_on_what_dockerd_writes() -> None:
    for options, expected in (
        ("plain", (2 << 30, 200000, 1024)),
        ("--cpu-quota -1", (2 << 30, 200000, 1024)),
        ("--memory 100m --memory-swap -1 --cpus 2 --pids-limit -1 --cpu-shares 5000", (100 << 20, 200000, 1024)),
    ):
        resources = said("resource-ceilings", dockers_config(options)).config["linux"]["resources"]
        assert (resources["memory"]["limit"], resources["cpu"]["quota"], resources["pids"]["limit"]) == expected


def test_restricted_on_what_dockerd_writes() -> None:
    """What `--user 1000 --cap-drop ALL --security-opt no-new-privileges` asks for passes, and less does not."""
    config = dockers_config("--security-opt no-new-privileges")
    process = {**config["process"], "user": {"uid": 1000, "gid": 1000}, "capabilities": {}}
    assert not said("pod-security-restricted", {**config, "process": process}).denied
    for change, message in (
        ({"capabilities": config["process"]["capabilities"]}, "all capabilities but NET_BIND_SERVICE"),
        ({"user": {"uid": 0, "gid": 1000}}, "running as root"),
        ({"noNewPrivileges": False}, "no-new-privileges must be set"),
    ):
        assert message in said("pod-security-restricted", {**config, "process": {**process, **change}}).denied
    forged = {
        **config,
        "annotations": {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.container.name": "POD"},
    }
    assert "all capabilities" in said("pod-security-restricted", forged).denied


# A change of the plain config, as a merge patch, and the parts of both messages.
BROTHERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("ambient capabilities", {"process": {"capabilities": {"ambient": ["CAP_SYS_ADMIN"]}}}, "CIS 5.4", CAPABILITIES),
    ("inheritable capabilities", {"process": {"capabilities": {"inheritable": ["CAP_BPF"]}}}, "CIS 5.4", CAPABILITIES),
    (
        "a capability in small letters",
        {"process": {"capabilities": {"bounding": ["cap_sys_admin"]}}},
        "CIS 5.4",
        CAPABILITIES,
    ),
    ("all of them by one name", {"process": {"capabilities": {"permitted": ["ALL"]}}}, "CIS 5.4", CAPABILITIES),
    ("seccomp that allows", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}, "CIS 5.22", "seccomp"),
    ("seccomp that only logs", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG"}}}, "CIS 5.22", "seccomp"),
    ("seccomp that asks somebody", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}}, "CIS 5.22", "seccomp"),
    ("seccomp without an action", {"linux": {"seccomp": {"defaultAction": None}}}, "CIS 5.22", "seccomp"),
    ("AppArmor unconfined", {"process": {"apparmorProfile": "unconfined"}}, "CIS 5.2", "AppArmor"),
    (
        "AppArmor unconfined by its namespace",
        {"process": {"apparmorProfile": ":root:unconfined"}},
        "CIS 5.2",
        "AppArmor",
    ),
    ("an SELinux type of the host", {"process": {"selinuxLabel": "system_u:system_r:spc_t:s0"}}, "CIS 5.3", "SELinux"),
    ("an SELinux user", {"process": {"selinuxLabel": "unconfined_u:system_r:container_t:s0"}}, "", "SELinux"),
    ("one masked path", {"linux": {"maskedPaths": ["/proc/kcore"]}}, "", "all of /proc"),
    ("no read-only path", {"linux": {"readonlyPaths": []}}, "", "all of /proc"),
    (
        "a sysctl with slashes",
        {"linux": {"sysctl": {"kernel/core_pattern": "|/x"}}},
        "",
        "the sysctl kernel/core_pattern",
    ),
    (
        "the pid namespace by a path",
        {"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}},
        "namespace is not allowed",
        "namespace is not allowed",
    ),
    ("no namespaces", {"linux": {"namespaces": None}}, "namespace is not allowed", "namespace is not allowed"),
    ("shared propagation of the root", {"linux": {"rootfsPropagation": "rshared"}}, "CIS 5.20", ""),
    ("a cgroup elsewhere", {"linux": {"cgroupsPath": "/docker/../x"}}, "CIS 5.25", ""),
    ("a slice", {"annotations": {"org.systemd.property.Slice": "'x.slice'"}}, "CIS 5.25", ""),
    (
        "devices by a property",
        {"annotations": {"org.systemd.property.DevicePolicy": "'auto'"}},
        "CIS 5.18",
        "devices of the host",
    ),
    ("a network device", {"linux": {"netDevices": {"eth0": {}}}}, "CIS 5.18", "devices of the host"),
    (
        "memory by its number",
        {"linux": {"devices": [{"path": "/dev/x", "type": "u", "major": 1, "minor": 1}]}},
        "CIS 5.18",
        "devices of the host",
    ),
    (
        "a disk in the place of /dev/null",
        {"linux": {"devices": [{"path": "/dev/null", "type": "b", "major": 8, "minor": 0}]}},
        "CIS 5.18",
        "raw disks",
    ),
    (
        "the kernel's debugfs",
        {"mounts": [{"destination": "/d", "type": "debugfs", "source": "debugfs"}]},
        "CIS 5.6",
        "mounting a path of the host",
    ),
    ("a second /proc", {"mounts": [{"destination": "/p", "type": "proc", "source": "proc"}]}, "", "a second /proc"),
]


@pytest.mark.parametrize(("name", "change", "cis", "baseline"), BROTHERS, ids=[row[0] for row in BROTHERS])
def test_the_same_power_under_another_name(name: str, change: dict[str, Any], cis: str, baseline: str) -> None:
    config = merged(DOCKERS["plain"], change)
    for command in ("create", "run", "restore", "exec"):
        for file, message in (("cis-docker", cis), ("pod-security-baseline", baseline)):
            denied = said(file, config, command=command).denied
            assert message in denied if message else not denied, f"{file}: {denied}"


def test_what_they_make_is_a_config() -> None:
    assert validation.problems(SOURCES) == []


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        ("{denied: nope}", "it was denied with 'no way', not with 'nope'"),
        ("{changed: true}", "the config was not changed"),
        ("{denied: true}", ""),
        ("{denied: no way, matched: true}", ""),
        ("{matched: false}", "it matched"),
        ("{fields: {/a: 1}, denied: true}", "/a is None, not 1"),
        ("{hooks: {poststop: [/x]}, denied: true}", "the hooks of poststop are [], not ['/x']"),
        ("{error: true, denied: true}", "it was not an error"),
        ("{}", "t.yaml:1:"),
        ("{denid: x}", "did you mean 'denied'?"),
        ("{hooks: {}}", "it was denied: no way"),
    ],
)
def test_a_test_is_able_to_fail(expect: str, problem: str) -> None:
    text = document(deny=[{"message": "no way"}])[:-1] + f', "tests": [{{"name": "t", "expect": {expect}}}]}}'
    (source,) = compiler.load(text, "t.yaml")
    (outcome,) = testing.run(source)
    assert problem in outcome.problem if problem else not outcome.problem
