"""What CRIU's log says of a failure, for the one line that an engine's user gets to see."""

from __future__ import annotations

import os
import re

from hookrun.runtime.criu.service import CriuFailure
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files

_TELLING = re.compile(r".*Error \([^)]*\): (.*)|\(\d+\.\d+\) (Can't connect to .*)")
"""An error, less CRIU's time, process and source line; a page server that is not there is none in CRIU's eyes."""

_GOES_ON = "rlimit: Can't setup RLIMIT_NOFILE for self"
"""What CRIU calls an error and goes on after, wherever root lacks CAP_SYS_RESOURCE."""

_TERMINAL = re.compile(r"path=/dev/(pts/|tty)")
_SHELL_JOB = "a terminal of the caller's is left out with --shell-job"
"""What CRIU does not say where it finds no mount for a terminal."""

_MOST = 5
_MOUNTS = re.compile(rb"mnt: \s*Will mount \d+ @ (/tmp/\.criu\.mntns\.\w{6})/")


def explained(failure: CriuFailure, path: str, complaint: str) -> Failure:
    """The same failure with the errors in the log at `path`, and where the log is; where there are none, `complaint`.

    The first errors say why, and what to do about it; the later ones follow from them.
    """
    errors = _errors(path)
    where = f" (log file: {path})" if errors else ""
    said = errors[:_MOST] or [_telling(complaint) or complaint.strip()]
    if any(map(_TERMINAL.search, said)):
        said.insert(0, _SHELL_JOB)
    return Failure(": ".join(filter(None, (failure.text, "; ".join(said)))) + where, failure.status)


def _errors(path: str) -> list[str]:
    """The errors in the log, each once."""
    try:
        lines = files.read_bytes(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    told = dict.fromkeys(filter(None, map(_telling, lines)))
    return [text for text in told if not text.startswith(_GOES_ON)]


def _telling(line: str) -> str:
    """What a line says of an error, "" where it is about something else."""
    found = _TELLING.fullmatch(line)
    return (found[1] or found[2]).strip() if found else ""


def remove_mounts_directory(path: str) -> None:
    """Remove the directory in /tmp where a CRIU that was killed had its mounts, empty by now; the log names it."""
    try:
        found = _MOUNTS.search(files.read_bytes(path))
        if found:
            os.rmdir(found[1])
    except OSError:
        pass  # CRIU has removed it, or has never begun.
