"""Which host an export is from, named as OpenTelemetry's semantic conventions for resources name it."""

from __future__ import annotations

import os
from pathlib import Path

# machine-id(5): D-Bus had it first, and hosts without systemd still keep it there.
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def identity() -> dict[str, str]:
    """`host.name` and `host.id` of the host that exports; the id is "" where it has none."""
    return {"host.name": os.uname().nodename, "host.id": _machine_id()}


def _machine_id() -> str:
    for path in _MACHINE_IDS:
        try:
            found = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if found not in ("", "uninitialized"):
            return found
    return ""
