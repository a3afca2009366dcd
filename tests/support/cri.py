"""A client of the Container Runtime Interface, as much of it as a kubelet needs for one pod.

Messages are dicts of field numbers (kubernetes' cri-api, runtime/v1/api.proto) in protobuf's wire format, which takes a
few lines; gRPC comes from grpcio.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

Fields = dict[int, Any]

_VARINT = 0
_FIXED64 = 1
_BYTES = 2


def encode(fields: Fields) -> bytes:
    """A message: ints, strings, bytes, messages as dicts, and lists of those for repeated fields."""
    parts = []
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                parts.append(_varint(number << 3 | _VARINT) + _varint(one))
            else:
                data = encode(one) if isinstance(one, dict) else one.encode() if isinstance(one, str) else one
                parts.append(_varint(number << 3 | _BYTES) + _varint(len(data)) + data)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def decode(data: bytes) -> dict[int, Any]:
    """A message's fields, the last of repeated ones: ints, and bytes for all else."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 == _VARINT:
            found[key >> 3], at = _read_varint(data, at)
            continue
        length, at = (8, at) if key & 7 == _FIXED64 else _read_varint(data, at)
        found[key >> 3] = data[at : at + length]
        at += length
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def pairs(values: dict[str, str]) -> list[Fields]:
    """A map of strings."""
    return [{1: name, 2: value} for name, value in values.items()]


class Cri:
    """Calls of the runtime service behind a socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def __call__(self, method: str, request: Fields, timeout: float = 120) -> dict[int, Any]:
        """Call a method. Raises grpc.RpcError."""
        call = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        answer: bytes = call(encode(request), timeout=timeout)
        return decode(answer)

    def close(self) -> None:
        self._channel.close()
