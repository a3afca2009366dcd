"""Unix sockets: connecting to one, and descriptors that travel over them (unix(7), SCM_RIGHTS).

Lines are descriptors: they outlive the objects that Python has for sockets.
"""

from __future__ import annotations

import os
import socket

_LONGEST_TEXT = 4096


def connect(path: str) -> int:
    """A line to the stream socket at a path. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
        line.connect(path)
        return line.detach()


def send(line: int, data: bytes, descriptor: int = -1) -> None:
    """Send one message, with a descriptor unless that is -1. Raises OSError."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, "little", signed=True))
    with socket.socket(fileno=os.dup(line)) as sender:
        sender.sendmsg([data], [rights] if descriptor >= 0 else [])


def receive(line: int) -> tuple[bytes, int]:
    """The next message, b"" at the end, and its descriptor, -1 where it has none. Raises OSError."""
    with socket.socket(fileno=os.dup(line)) as receiver:
        data, control, _, _ = receiver.recvmsg(_LONGEST_TEXT, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, rights in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return data, int.from_bytes(rights[:4], "little")
    return data, -1
