"""The line between hookrun and the process that becomes the container: a pair of pipes, a few short messages.

The child says what it needs and waits, the parent does that and answers; the end of the line means death.
"""

from __future__ import annotations

import os

from hookrun.runtime.errors import Failure

MAPPINGS = b"m"
PREPARED = b"h"
READY = b"r"
FINISHED = b"f"
DONE = b"d"
ERROR = b"E"
PID = b"p"
HOOK_RESULT = b"k"
SECCOMP = b"s"
WARNING = b"w"

_HEADER = 5


class ChildLine:
    """The child's end."""

    __slots__ = ("is_announced", "reader", "writer")

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self.is_announced = True

    def tell(self, kind: bytes, text: str = "") -> None:
        """Raises Failure where the parent is gone before it knew of this process, OSError where it is gone since."""
        if not self.is_announced:
            self.is_announced = True
            self._await_answer()
        body = text.encode("utf-8", "surrogateescape")
        os.write(self.writer, kind + len(body).to_bytes(4, "little") + body)

    def ask(self, kind: bytes, text: str = "") -> None:
        """Tell, and wait until the parent has done its part. Raises Failure where the parent is gone."""
        self.tell(kind, text)
        self._await_answer()

    def _await_answer(self) -> None:
        if os.read(self.reader, 1) != DONE:
            raise Failure("the runtime ended before the container was ready")

    def close(self) -> None:
        """Hang up; what is told afterwards raises OSError."""
        os.close(self.reader)
        os.close(self.writer)
        self.reader = self.writer = -1


class ParentLine:
    """The parent's end."""

    __slots__ = ("reader", "writer")

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer

    def receive(self) -> tuple[bytes, str]:
        """The next message's kind and text; (b"", "") at the end of the line."""
        header = self._read(_HEADER)
        if len(header) < _HEADER:
            return b"", ""
        body = self._read(int.from_bytes(header[1:], "little"))
        return header[:1], body.decode("utf-8", "surrogateescape")

    def answer(self) -> None:
        """Let the child go on; a child that has died meanwhile is found by the next `receive`."""
        try:
            os.write(self.writer, DONE)
        except BrokenPipeError:
            pass

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)

    def _read(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = os.read(self.reader, size - len(parts))
            if not part:
                break
            parts += part
        return parts


def open_pair() -> tuple[ParentLine, ChildLine]:
    """Both ends; all descriptors close on execve."""
    to_child = os.pipe2(os.O_CLOEXEC)
    to_parent = os.pipe2(os.O_CLOEXEC)
    return ParentLine(to_parent[0], to_child[1]), ChildLine(to_child[0], to_parent[1])
