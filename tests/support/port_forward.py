"""The client's side of `kubectl port-forward`, for one question and one answer.

A WebSocket (RFC 6455) with Kubernetes' protocol v4.channel.k8s.io: each message begins with its channel, 0 for data and
1 for errors, and the first on each of the server's channels is the port (kubelet's pkg/cri/streaming/portforward).
"""

from __future__ import annotations

import base64
import os
import socket
from typing import BinaryIO
from urllib.parse import urlsplit

_BINARY = 0x82  # the last frame of a binary message
_MASKED = 0x80
_DATA = b"\0"


def ask(url: str, port: int, question: bytes) -> bytes:
    """Send a question through a forwarded port; returns what comes back until the other side ends.

    Raises ConnectionError with what the server says, as long as nobody listens at the port.
    """
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), 60) as line, line.makefile("rb") as answers:
        line.sendall(_request(place.netloc, f"{place.path}?port={port}"))
        while answers.readline() not in (b"\r\n", b""):
            pass
        line.sendall(_frame(_DATA + question))
        return _answer(answers)


def _request(host: str, target: str) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _frame(payload: bytes) -> bytes:
    """A short message; the mask that a client has to use is zero."""
    assert len(payload) < 126
    return bytes((_BINARY, _MASKED | len(payload))) + bytes(4) + payload


def _answer(answers: BinaryIO) -> bytes:
    said = {0: b"", 1: b""}
    while head := answers.read(2):
        length = head[1]
        if length >= 126:
            length = int.from_bytes(answers.read(2 if length == 126 else 8), "big")
        payload = answers.read(length)
        if head[0] != _BINARY:  # the end
            break
        said[payload[0]] += payload[1:]
    if said[1][2:]:
        raise ConnectionError(said[1][2:].decode())
    return said[0][2:]
