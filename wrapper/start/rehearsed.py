"""What is rehearsed on: a bundle's config as dockerd writes one, and a snapshot with policies and hooks in force.

Made up by hand. What an operator wrote stays out of the heap, and the compiler of policies is not in it.
"""

from __future__ import annotations

from typing import Any

from hookrun.policies import policy
from hookrun.policies.policy import Policy
from hookrun.runtime.commands import spec
from hookrun.runtime.linux.seccomp import Profile
from hookrun.wrapper import settings
from hookrun.wrapper.snapshot import Content

FILES = ("resolv.conf", "hostname", "hosts")
"""What the config binds of the bundle, beside the directory DIRECTORY."""
DIRECTORY = "data"

SECCOMP: Profile = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
    "syscalls": [
        {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
    ],
}

_HOOK = {"path": "/nosuch", "args": ["nosuch"], "timeout": 1}
_SOCKETS = ("/nosuch/engine.sock", "/run/nosuch", "/dev", "/usr")


def config(bundle: str) -> dict[str, Any]:
    """A config whose binds lie in the directory `bundle`. It sets nothing of the host's, as sysctls would."""
    made = spec.example()
    process, linux = made["process"], made["linux"]
    process |= {"terminal": False, "noNewPrivileges": False, "oomScoreAdj": 0}
    process["user"]["additionalGids"] = [0]
    process["env"].append("HOSTNAME=rehearsal")
    made["root"]["readonly"] = False
    made["mounts"] += [
        {"destination": place, "type": "bind", "source": f"{bundle}/{name}", "options": ["rbind", "rprivate"]}
        for place, name in [*((f"/etc/{name}", name) for name in FILES), ("/data", DIRECTORY)]
    ]
    linux["resources"] |= {
        "devices": [{"allow": False, "access": "rwm"}, *_devices((1, 3), (1, 5), (1, 8), (1, 9), (5, 0), (5, 1))],
        "memory": {"disableOOMKiller": False},
        "cpu": {"shares": 0},
        "blockIO": {"weight": 0},
    }
    made["annotations"] = {"rehearsal": "yes"}
    return made


def _devices(*numbers: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in numbers]


def content(place: str) -> Content:
    """The snapshot's content (see `snapshot`); the record is kept below the directory `place`."""
    policies = [one.packed() for one in _policies()]
    return {
        "settings": settings.completed({"record": {"directory": f"{place}/record"}}),
        "profiles": {},
        "hooks": {"entries": [_entry("poststop", None), _entry("poststart", _when())]},
        "policies": {
            "policies": policies,
            "always": list(range(1, len(policies))),
            "index": [(("field", "process", "user", "uid"), {0: [0]})],
            "asks": ["namespaces.forbidHost"],
        },
    }


def _entry(stage: str, when: dict[str, Any] | None) -> dict[str, Any]:
    return {"stages": [stage], "hook": _HOOK, "when": when, "source": "hooks.d", "file": "/nosuch", "line": 1}


def _when() -> dict[str, Any]:
    return {"always": True, "hasBindMounts": True, "or": False, "annotations": [], "commands": []}


def _policies() -> list[Policy]:
    """Policies that look at everything and refuse nothing."""
    return [
        _policy(
            match=("all", (("is", ("engine",), (("notEquals", "nosuch"),)), _is("process", "user", "uid", equals=0))),
            denials=(
                (_is("mounts", "*", "source", startsWith="/nosuch/"), ()),
                (("any", (_is("annotations", "rehearsal", equals="no"), _is("hostname", contains="nosuch"))), ()),
            ),
        ),
        _policy(
            checks=(
                ("mounts.forbid", tuple((selector, ()) for selector in _selectors())),
                ("namespaces.forbidHost", ("pid", "network")),
                ("devices.forbid", ((((("path", (("startsWith", "/nosuch"),)),)), ()),)),
                ("user.range", ("uid", ((0, 1),))),
            )
        ),
        _policy(
            changes=(
                ("mounts.readOnly", ((("source", (("equals", "/nosuch"),)),),)),
                ("capabilities.drop", ("CAP_NET_RAW",)),
                ("env.default", {"REHEARSAL": "yes"}),
                ("resources.max", {"memory": 1 << 40, "pids": 1 << 20}),
            ),
            patch=(("add", ("annotations", "rehearsed"), (), "yes"),),
            hooks=(("createRuntime", _HOOK, 1),),
        ),
        _policy(merge={"linux": {"readonlyPaths": ["/proc/bus"]}}),
    ]


def _selectors() -> tuple[Any, ...]:
    return (
        (("source", (("in", _SOCKETS),)), ("destination", (("equals", "/nosuch"),))),
        (("type", (("equals", "bind"),)), ("source", (("in", _SOCKETS[:2]),))),
        (("source", (("startsWith", "/nosuch/"),)),),
    )


def _is(*path: str, **tests: Any) -> tuple[Any, ...]:
    return "is", ("field", *path), tuple(tests.items())


def _policy(**parts: Any) -> Policy:
    empty: dict[str, Any] = {"match": None, "merge": None}
    empty |= dict.fromkeys(("denials", "checks", "changes", "patch", "hooks", "exceptions"), ())
    return Policy(
        name="rehearsal",
        mode=policy.ENFORCE,
        on_error=policy.DENY,
        file="/nosuch",
        line=1,
        skips_updates=False,
        owner="",
        severity="",
        **(empty | parts),
    )
