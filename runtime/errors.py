"""The one exception that a command ends with."""

from __future__ import annotations


class Failure(Exception):
    """A command could not be carried out.

    `text` is one line for the person who reads the engine's error: what failed, on which path or field, and
    what to do. `status` is the exit status, 1 unless runc uses another (255 where `exec` itself fails).
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def reason(error: OSError) -> str:
    """The kernel's words for an error as Go, and so runc, prints them: `no such file or directory`."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
