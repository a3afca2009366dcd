"""What runc warns of since 1.2, where nobody was warned before.

An engine's users expect what the runc that it ships with says. Its age shows in the `ociVersion` that it writes: 1.2.0
at most in Debian 12 and 13, whose runc is 1.1; 1.2.1 or more in what comes after them, with runc 1.3.
"""

from __future__ import annotations

from hookrun.runtime.log import Log

_OF_RUNC_1_2 = [1, 2, 1]


def warn(log: Log, oci_version: str, text: str) -> None:
    """Warn an engine that a runc of its age would warn; to others --debug shows it."""
    numbers = [int(part) for part in oci_version.partition("-")[0].split(".") if part.isdigit()]
    (log.warning if numbers >= _OF_RUNC_1_2 else log.debug)(text)
