"""`spec`: write a config.json to start from (runc: spec.go, specconv/example.go)."""

from __future__ import annotations

import json
import os
from typing import Any

from hookrun.runtime import SPEC_VERSION
from hookrun.runtime.cgroups.files import is_unified
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure, failing, reason

_FILE = "config.json"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_CLOSED = ["nosuid", "noexec", "nodev"]


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write config.json into the bundle. Raises Failure where there is one already."""
    spec = example()
    if options["rootless"]:
        make_rootless(spec, os.geteuid(), os.getegid())
    _enter(options["bundle"])
    try:
        descriptor = os.open(_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Failure(f"File {_FILE} exists. Remove it first") from None
    except OSError as error:
        raise Failure(f"open {_FILE}: {reason(error)}") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(spec, indent="\t"))
    return 0


def _enter(bundle: str) -> None:
    with failing(f"chdir {bundle}"):
        os.chdir(bundle or ".")


def example() -> dict[str, Any]:
    """A container that runs `sh` in a root of its own."""
    kinds = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if is_unified() else [])
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: _CAPABILITIES for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "hookrun",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount(
                "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
            ),
            _mount("/dev/shm", "tmpfs", "shm", *_CLOSED, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", *_CLOSED),
            _mount("/sys", "sysfs", "sysfs", *_CLOSED, "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_CLOSED, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def make_rootless(spec: dict[str, Any], uid: int, gid: int) -> None:
    """Change an example so that this user can run it (runc: specconv.ToRootless)."""
    linux = spec["linux"]
    kept = [entry for entry in linux["namespaces"] if entry["type"] not in ("network", "user")]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    spec["mounts"] = [_rootless_mount(mount) for mount in spec["mounts"]]


def _rootless_mount(mount: dict[str, Any]) -> dict[str, Any]:
    if mount["destination"] == "/sys":
        return _mount("/sys", "none", "/sys", "rbind", *_CLOSED, "ro")
    options = [option for option in mount.get("options", ()) if not option.startswith(("uid=", "gid="))]
    return {**mount, "options": options} if options else mount
