"""Who can write a file that decides what runs as root."""

from __future__ import annotations

from hookrun.runtime.linux import os

_OTHERS_WRITE = 0o022
_OVERFLOW_UID = 65534  # what the kernel shows for an owner that the user namespace does not map


def problem(path: str) -> str:
    """Why a file cannot be trusted, "" where root or this user alone can write it. Raises OSError.

    Rootless Podman calls its runtime in a user namespace, where the host's root is shown as nobody.
    """
    status = os.stat(path)
    if not status.st_mode & _OTHERS_WRITE and (status.st_uid in (0, os.geteuid()) or _may_be_root(status.st_uid)):
        return ""
    return f"others than root can write it (owner {status.st_uid}, mode {status.st_mode & 0o7777:o})"


def _may_be_root(uid: int) -> bool:
    if uid != _OVERFLOW_UID:
        return False
    from hookrun.runtime.context import in_user_namespace

    return in_user_namespace()
