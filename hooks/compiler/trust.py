"""Whoever can write a hook owns the host: files that others than root and this user can write are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def problem(path: Path) -> str:
    """Why a file, or a directory on the way to it, cannot be trusted; "" where it can. Raises OSError."""
    real = path.resolve(strict=True)
    for place in (real, *real.parents):
        status = place.stat()
        writable = status.st_mode & _OTHERS_WRITE
        if place.is_dir() and place != real and status.st_mode & stat.S_ISVTX:
            writable = 0  # nobody can replace what is not his own there
        if status.st_uid not in (0, os.geteuid()) or writable:
            return f"others can write {place} (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o})"
    return ""
