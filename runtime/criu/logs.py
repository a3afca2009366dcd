"""What CRIU's log says of a failure, for the one line that an engine's user gets to see."""

from __future__ import annotations

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure

_MARK = "Error ("
_MOST = 5


def explained(failure: Failure, path: str) -> Failure:
    """The same failure with the errors in the log at `path`, and where the log is.

    The first ones say why, and what to do about it; the later ones follow from them.
    """
    errors = _errors(path)[:_MOST]
    return Failure(f"{failure.text}: {'; '.join(errors)} (log file: {path})", failure.status) if errors else failure


def _errors(path: str) -> list[str]:
    """The errors in the log, each once, without CRIU's time, process and source line."""
    try:
        lines = jsonio.read_bytes(path).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = (line.partition(_MARK)[2].partition("): ")[2].strip() for line in lines if _MARK in line)
    return list(dict.fromkeys(found))
