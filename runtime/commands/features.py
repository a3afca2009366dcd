"""`features`: what this runtime can do, as features.md describes it (runc: features.go)."""

from __future__ import annotations

import json
from typing import Any

from hookrun.runtime import SPEC_VERSION
from hookrun.runtime.context import Context, Options
from hookrun.runtime.linux import capabilities, libseccomp, mount_options, namespaces, seccomp
from hookrun.runtime.spec import placement
from hookrun.runtime.spec.hooks import STAGES

OLDEST_SPEC = "1.0.0"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the features object."""
    print(json.dumps(describe(), indent=4), flush=True)
    return 0


def describe() -> dict[str, Any]:
    """The features object; it tells of the runtime, and of this host only in seccomp's supported flags."""
    return {
        "ociVersionMin": OLDEST_SPEC,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(STAGES),
        "mountOptions": _mount_options(),
        "linux": {
            "namespaces": sorted(namespaces.FLAGS),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp.ACTIONS),
                "operators": sorted(seccomp.OPERATORS),
                "archs": sorted(seccomp.ARCHITECTURES),
                "knownFlags": list(seccomp.FLAGS),
                "supportedFlags": seccomp.supported_flags(),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(placement.MODES), "flags": sorted(placement.MODE_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": _annotations(),
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config"],
    }


def _mount_options() -> list[str]:
    known = {mount_options.COPY_UP, mount_options.IDMAP, mount_options.RIDMAP}
    tables: tuple[Any, ...] = (
        mount_options.PROPAGATION,
        mount_options.SETTING,
        mount_options.CLEARING,
        mount_options.RECURSIVE_SETTING,
        mount_options.RECURSIVE_CLEARING,
    )
    return sorted(known.union(*tables))


def _annotations() -> dict[str, str]:
    found = {"org.opencontainers.runc.checkpoint.enabled": "true"}
    try:
        found["io.github.seccomp.libseccomp.version"] = ".".join(map(str, libseccomp.Library().version()))
    except OSError:
        pass
    return found
