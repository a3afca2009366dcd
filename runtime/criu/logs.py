"""What CRIU's log says of a failure, for the one line that an engine's user gets to see."""

from __future__ import annotations

import os
import re

from hookrun.runtime.criu.service import CriuFailure
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files

_MARK = "Error ("
_MOST = 5
_MOUNTS = re.compile(rb"mnt: \s*Will mount \d+ @ (/tmp/\.criu\.mntns\.\w{6})/")


def explained(failure: CriuFailure, path: str, complaint: str) -> Failure:
    """The same failure with the errors in the log at `path`, and where the log is; where there are none, `complaint`.

    The first errors say why, and what to do about it; the later ones follow from them.
    """
    errors = _errors(path)
    where = f" (log file: {path})" if errors else ""
    said = errors[:_MOST] or ([_cleaned(complaint)] if complaint else [])
    return Failure(": ".join(filter(None, (failure.text, "; ".join(said)))) + where, failure.status)


def _errors(path: str) -> list[str]:
    """The errors in the log, each once."""
    try:
        lines = files.read_bytes(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(_cleaned(line) for line in lines if _MARK in line))


def _cleaned(line: str) -> str:
    """Without CRIU's time, process and source line."""
    return line.partition(_MARK)[2].partition("): ")[2].strip() or line.strip()


def remove_mounts_directory(path: str) -> None:
    """Remove the directory in /tmp where a CRIU that was killed had its mounts, empty by now; the log names it."""
    try:
        found = _MOUNTS.search(files.read_bytes(path))
        if found:
            os.rmdir(found[1])
    except OSError:
        pass  # CRIU has removed it, or has never begun.
