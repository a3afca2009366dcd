"""The line between hookrun and the process that becomes the container: a pair of pipes, a few short messages.

`create` and `run`; what only some containers need stands in brackets:

    hookrun (creation)                        the container's process (spawn, standard_init)
        |--- clone3 --------------------------->|
        |<-- [CGROUPS] -------------------------|  systemd makes its cgroups around it
        |--- done ----------------------------->|
        |<-- [MAPPINGS] ------------------------|  its user namespace wants maps
        |--- done ----------------------------->|
        |<-- PREPARED --------------------------|  the mounts are made
        |    limits, devices, runtime's hooks   |
        |--- done ----------------------------->|
        |<-- [HOOK_RESULT] ---------------------|  what a createContainer hook gave back
        |<-- READY -----------------------------|  the rootfs is entered and finished
        |    rlimits                            |
        |--- done ----------------------------->|
        |<-- [SECCOMP] -------------------------|  a descriptor for the agent
        |--- done ----------------------------->|
        |<-- [WARNING, DEBUG] ------------------|
        |<-- FINISHED --------------------------|  all that can fail before `start` is done
        |    pid file, state.json               |
        |--- done ----------------------------->|  waits at the exec fifo

`exec` (execution, setns_init) has CGROUPS, READY, SECCOMP, WARNING and DEBUG alone; its line ends just before execve.
Where namespaces are joined by their paths, an intermediate process begins and says PID before it ends; the container's
process says nothing before that is answered. ERROR can come at any time; the end of the line means death.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from hookrun.runtime.errors import Failure

_DONE = b"d"
_HEADER = 5  # the kind and the length of the text, four bytes, lowest first


class Message(Enum):
    """What the child says, and the byte that stands for it on the line."""

    CGROUPS = b"c"
    """Asks to be moved into its cgroups."""
    MAPPINGS = b"m"
    """Asks for the maps of its user namespace; of the process whose pid is the text, its own without one."""
    PREPARED = b"p"
    """Asks for what the parent does before the rootfs is entered."""
    READY = b"r"
    """Asks for its rlimits."""
    SECCOMP = b"s"
    """Asks to have its seccomp listener handed over: pid and number of the descriptor."""
    FINISHED = b"f"
    """Asks to be made a container."""
    HOOK_RESULT = b"h"
    """Tells what a hook gave back, as JSON."""
    WARNING = b"w"
    """Tells something for the log."""
    DEBUG = b"g"
    """Tells of a step, for --debug."""
    PID = b"i"
    """Tells the pid of the container's process: the intermediate process's last word."""
    ERROR = b"e"
    """Tells why it ends."""


_ASKING = frozenset(
    (
        Message.CGROUPS,
        Message.MAPPINGS,
        Message.PREPARED,
        Message.READY,
        Message.SECCOMP,
        Message.FINISHED,
    )
)
_BY_BYTE = {message.value: message for message in Message}
Parts = Mapping[Message, Callable[[str], None]]
"""What the parent does for each message, given its text."""


@dataclass(slots=True)
class ChildLine:
    """The child's end."""

    reader: int
    writer: int
    is_announced: bool = True
    """Whether the parent knows of this process; before, it may not speak."""

    def tell(self, message: Message, text: str = "") -> None:
        """Raises Failure where the parent is gone before it knew of this process, OSError where it is gone since."""
        if not self.is_announced:
            self.is_announced = True
            self._await_answer()
        body = text.encode("utf-8", "surrogateescape")
        os.write(self.writer, message.value + len(body).to_bytes(4, "little") + body)

    def ask(self, message: Message, text: str = "") -> None:
        """Tell, and wait until the parent has done its part. Raises Failure where the parent is gone."""
        self.tell(message, text)
        self._await_answer()

    def _await_answer(self) -> None:
        if os.read(self.reader, 1) != _DONE:
            raise Failure("the runtime ended before the container was ready")

    def close(self) -> None:
        """Hang up; what is told afterwards raises OSError."""
        os.close(self.reader)
        os.close(self.writer)
        self.reader = self.writer = -1


@dataclass(frozen=True, slots=True)
class ParentLine:
    """The parent's end."""

    reader: int
    writer: int

    def attend(self, parts: Parts) -> tuple[Message | None, str]:
        """Do our part for each message, and let a child that asked go on; returns the first that has no part here."""
        while True:
            message, text = self.receive()
            if message is None or message not in parts:
                return message, text
            parts[message](text)
            if message in _ASKING:
                self.answer()

    def receive(self) -> tuple[Message | None, str]:
        """The next message and its text; (None, "") at the end of the line."""
        header = self._read(_HEADER)
        if len(header) < _HEADER:
            return None, ""
        body = self._read(int.from_bytes(header[1:], "little"))
        return _BY_BYTE.get(header[:1]), body.decode("utf-8", "surrogateescape")

    def answer(self) -> None:
        """Let the child go on; a child that has died meanwhile is found by the next `receive`."""
        try:
            os.write(self.writer, _DONE)
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
