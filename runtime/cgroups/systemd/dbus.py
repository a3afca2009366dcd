"""The little D-Bus that talking to systemd takes (the D-Bus specification: message protocol, EXTERNAL authentication).

A value travels with its signature; in Python: numbers, str, bytes for `ay`, lists, tuples for structs, Variant.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from struct import pack, unpack_from
from typing import Any

from hookrun.runtime.errors import Failure, failing, reason

SYSTEM_BUS = "/run/dbus/system_bus_socket"
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_CALL, _ERROR, _SIGNAL = 1, 3, 4
_PATIENCE_SECONDS = 30.0
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_FIXED = {"y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4), "u": ("I", 4), "h": ("I", 4)}
_FIXED |= {"x": ("q", 8), "t": ("Q", 8), "d": ("d", 8)}
_ALIGNMENT = {"s": 4, "o": 4, "g": 1, "a": 4, "v": 1, "(": 8, "{": 8} | {
    code: size for code, (_, size) in _FIXED.items()
}
_ENDS = {"(": ")", "{": "}"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A value with its signature."""

    signature: str
    value: Any


class BusError(Failure):
    """The other side's answer was an error; `name` is its D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Message:
    """What came over the bus."""

    kind: int
    fields: dict[int, Any]
    body: list[Any]


# --- the wire format


def first_type(signature: str) -> str:
    """The first complete type of a signature. Raises ValueError where it has none."""
    if not signature:
        raise ValueError("empty signature")
    code = signature[0]
    if code == "a":
        return code + first_type(signature[1:])
    if code in _ENDS:
        length = 1
        while signature[length : length + 1] != _ENDS[code]:
            length += len(first_type(signature[length:]))
        return signature[: length + 1]
    if code not in _ALIGNMENT:
        raise ValueError(f"unknown type {code!r}")
    return code


def types_of(signature: str) -> list[str]:
    """The complete types that a signature consists of."""
    types = []
    while signature:
        types.append(first_type(signature))
        signature = signature[len(types[-1]) :]
    return types


def marshal(signature: str, value: Any, buffer: bytearray) -> None:
    """Append a value of one complete type, aligned from the buffer's start, in little-endian order."""
    code = signature[0]
    buffer += bytes(-len(buffer) % _ALIGNMENT[code])
    if code in _FIXED:
        buffer += pack(f"<{_FIXED[code][0]}", value)
    elif code in "so":
        data = value.encode()
        buffer += pack("<I", len(data)) + data + b"\0"
    elif code == "g":
        buffer += bytes([len(value)]) + value.encode() + b"\0"
    elif code == "v":
        marshal("g", value.signature, buffer)
        marshal(value.signature, value.value, buffer)
    elif code == "a":
        _marshal_array(signature[1:], value, buffer)
    else:
        for part, element in zip(types_of(signature[1:-1]), value, strict=True):
            marshal(part, element, buffer)


def _marshal_array(element: str, values: Any, buffer: bytearray) -> None:
    place = len(buffer)
    buffer += bytes(4)
    buffer += bytes(-len(buffer) % _ALIGNMENT[element[0]])
    start = len(buffer)
    for value in values:
        marshal(element, value, buffer)
    buffer[place : place + 4] = pack("<I", len(buffer) - start)


def unmarshal(signature: str, data: bytes, offset: int) -> tuple[Any, int]:
    """The value of one complete type at an offset, and the offset after it."""
    code = signature[0]
    offset += -offset % _ALIGNMENT[code]
    if code in _FIXED:
        letter, size = _FIXED[code]
        value = unpack_from(f"<{letter}", data, offset)[0]
        return bool(value) if code == "b" else value, offset + size
    if code in "so":
        end = offset + 4 + unpack_from("<I", data, offset)[0]
        return data[offset + 4 : end].decode(), end + 1
    if code == "g":
        end = offset + 1 + data[offset]
        return data[offset + 1 : end].decode(), end + 1
    if code == "v":
        inner, offset = unmarshal("g", data, offset)
        value, offset = unmarshal(inner, data, offset)
        return Variant(inner, value), offset
    if code == "a":
        return _unmarshal_array(signature[1:], data, offset)
    values = []
    for part in types_of(signature[1:-1]):
        value, offset = unmarshal(part, data, offset)
        values.append(value)
    return tuple(values), offset


def _unmarshal_array(element: str, data: bytes, offset: int) -> tuple[Any, int]:
    length = unpack_from("<I", data, offset)[0]
    offset += 4
    offset += -offset % _ALIGNMENT[element[0]]
    end = offset + length
    if element == "y":
        return data[offset:end], end
    values = []
    while offset < end:
        value, offset = unmarshal(element, data, offset)
        values.append(value)
    return values, end


def encode_call(serial: int, target: tuple[str, str, str, str], signature: str, body: list[Any]) -> bytes:
    """A method call; `target` is (bus name, object path, interface, method)."""
    payload = bytearray()
    for part, value in zip(types_of(signature), body, strict=True):
        marshal(part, value, payload)
    name, path, interface, method = target
    fields = [
        (_PATH, Variant("o", path)),
        (_INTERFACE, Variant("s", interface)),
        (_MEMBER, Variant("s", method)),
        (_DESTINATION, Variant("s", name)),
    ]
    if signature:
        fields.append((_SIGNATURE, Variant("g", signature)))
    message = bytearray(pack("<BBBBII", ord("l"), _CALL, 0, 1, len(payload), serial))
    marshal("a(yv)", fields, message)
    message += bytes(-len(message) % 8)
    return bytes(message + payload)


def decode(data: bytes) -> Message:
    """A whole message; D-Bus daemons and systemd answer in the order of bytes that they were asked in."""
    kind = data[1]
    fields, offset = unmarshal("a(yv)", data, 12)
    named = {code: variant.value for code, variant in fields}
    offset += -offset % 8
    body = []
    for part in types_of(named.get(_SIGNATURE, "")):
        value, offset = unmarshal(part, data, offset)
        body.append(value)
    return Message(kind, named, body)


# --- the connection


class Connection:
    """A connection to a bus. Raises Failure where nobody listens or the bus refuses us."""

    __slots__ = ("_serial", "_signals", "_socket")

    def __init__(self, address: str) -> None:
        self._serial = 0
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(address)
            self._authenticate()
        except OSError as error:
            self.close()
            raise Failure(f"dial unix {_shown(address)}: {reason(error)}") from None
        self.call((_BUS, _BUS_PATH, _BUS, "Hello"), "", [])

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _authenticate(self) -> None:
        identity = str(os.geteuid()).encode().hex()
        self._socket.sendall(b"\0AUTH EXTERNAL " + identity.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = self._socket.recv(1)
            if not part:
                raise Failure("the bus closed the connection during authentication")
            answer += part
        if not answer.startswith(b"OK "):
            raise Failure(f"the bus refused authentication: {answer.decode('utf-8', 'replace').strip()}")
        self._socket.sendall(b"BEGIN\r\n")

    def call(self, target: tuple[str, str, str, str], signature: str, body: list[Any]) -> list[Any]:
        """The results of a method call; `target` as in `encode_call`. Raises BusError, Failure where none come."""
        self._serial += 1
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with failing(f"{target[3]}"):
            self._socket.sendall(encode_call(self._serial, target, signature, body))
        while True:
            message = self._receive(deadline, target[3])
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.fields.get(_REPLY_SERIAL) == self._serial:
                if message.kind == _ERROR:
                    raise BusError(message.fields.get(_ERROR_NAME, ""), str(message.body[0]) if message.body else "")
                return message.body

    def subscribe(self, rule: str) -> None:
        """Get the signals that a match rule describes."""
        self.call((_BUS, _BUS_PATH, _BUS, "AddMatch"), "s", [rule])

    def signal(self, member: str, seconds: float) -> list[Any]:
        """The arguments of the next signal of this name. Raises Failure after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            message = self._signals.pop(0) if self._signals else self._receive(deadline, member)
            if message.kind == _SIGNAL and message.fields.get(_MEMBER) == member:
                return message.body

    def _receive(self, deadline: float, awaited: str) -> Message:
        head = self._read(16, deadline, awaited)
        body_length, _, fields_length = unpack_from("<III", head, 4)
        fields_length += -fields_length % 8
        return decode(head + self._read(fields_length + body_length, deadline, awaited))

    def _read(self, count: int, deadline: float, awaited: str) -> bytes:
        data = b""
        while len(data) < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._socket.recv(count - len(data))
            except TimeoutError:
                raise Failure(f"timeout waiting for {awaited} on the bus") from None
            except OSError as error:
                raise Failure(f"{awaited}: {reason(error)}") from None
            if not part:
                raise Failure(f"{awaited}: the bus closed the connection")
            data += part
        return data


def _shown(address: str) -> str:
    return address.replace("\0", "@")


def user_bus() -> str:
    """The socket of the user's own bus. Raises Failure where the environment does not tell."""
    address = os.getenv("DBUS_SESSION_BUS_ADDRESS", "")
    for part in address.split(";"):
        kind, _, pairs = part.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs.split(",") if "=" in pair)
        if kind == "unix" and "path" in values:
            return _unescaped(values["path"])
        if kind == "unix" and "abstract" in values:
            return "\0" + _unescaped(values["abstract"])
    directory = os.getenv("XDG_RUNTIME_DIR", "")
    if directory and os.path.exists(f"{directory}/bus"):
        return f"{directory}/bus"
    raise Failure(
        "could not detect DBUS_SESSION_BUS_ADDRESS from the environment; make sure you have installed the "
        "dbus-user-session or dbus-daemon package; note you may need to re-login"
    )


def _unescaped(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
