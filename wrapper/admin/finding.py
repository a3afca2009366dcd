"""What `hookctl doctor` finds, a line each."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = "good"
NOTE = "note"
BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One line. With `state` BAD, containers would fail, or others could be root; `advice` is "" with nothing to do."""

    state: str
    subject: str
    text: str
    advice: str = ""
