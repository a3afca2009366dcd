"""The few messages of rtnetlink(7) that move a network device between namespaces with its addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from hookrun.runtime.linux import namespaces

_NETLINK_ROUTE = 0
_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_REQUEST = 0x1
_ACK = 0x4
_DUMP = 0x300
_CREATE = 0x400
_EXCL = 0x200
_IFLA_IFNAME = 3
_IFLA_NET_NS_FD = 28
_IFF_UP = 0x1
_IFA_FLAGS = 8
_IFA_F_PERMANENT = 0x80
_RT_SCOPE_UNIVERSE = 0
# IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST: a label names the device as it was called before.
_KEPT_ADDRESS_ATTRIBUTES = frozenset((1, 2, 4))
_HEADER = 16


def move(name: str, new_name: str, namespace: int) -> None:
    """Move a device into another network namespace under a new name, with its global addresses, and set it up there.

    `namespace` is a descriptor of it. Raises OSError (ENODEV where there is no such device).
    """
    index = _find(name)
    addresses = _addresses(index)
    _ask(_RTM_NEWLINK, _ACK, _link(index, 0, _IFF_UP))
    attributes = _attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little"))
    attributes += _attribute(_IFLA_IFNAME, new_name.encode() + b"\0")
    _ask(_RTM_NEWLINK, _ACK, _link(index, 0, 0) + attributes)
    _inside(namespace, lambda: _set_up(new_name, addresses))


def _set_up(name: str, addresses: list[bytes]) -> None:
    index = _find(name)
    for address in addresses:
        message = address[:4] + index.to_bytes(4, "little") + address[8:]
        _ask(_RTM_NEWADDR, _ACK | _CREATE | _EXCL, message)
    _ask(_RTM_NEWLINK, _ACK, _link(index, _IFF_UP, _IFF_UP))


def _inside(namespace: int, action: Callable[[], None]) -> None:
    """Do something in another network namespace, and come back."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.join(namespace, namespaces.NEWNET)
        try:
            action()
        finally:
            namespaces.join(own, namespaces.NEWNET)
    finally:
        os.close(own)


def _find(name: str) -> int:
    """A device's index."""
    replies = _ask(_RTM_GETLINK, 0, _link(0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0"))
    return int.from_bytes(replies[0][4:8], "little")


def _addresses(index: int) -> list[bytes]:
    """The device's permanent global addresses as RTM_NEWADDR bodies."""
    found = []
    for body in _ask(_RTM_GETADDR, _DUMP, bytes(8)):
        if int.from_bytes(body[4:8], "little") != index or body[3] != _RT_SCOPE_UNIVERSE:
            continue
        attributes = _attributes(body[8:])
        flags = int.from_bytes(attributes.get(_IFA_FLAGS, b"")[:4], "little")
        if flags & _IFA_F_PERMANENT:
            kept = [_attribute(kind, data) for kind, data in attributes.items() if kind in _KEPT_ADDRESS_ATTRIBUTES]
            found.append(body[:8] + b"".join(kept))
    return found


def _link(index: int, flags: int, change: int) -> bytes:
    """struct ifinfomsg."""
    return bytes(4) + index.to_bytes(4, "little") + flags.to_bytes(4, "little") + change.to_bytes(4, "little")


def _attribute(kind: int, data: bytes) -> bytes:
    header = (len(data) + 4).to_bytes(2, "little") + kind.to_bytes(2, "little")
    return header + data + bytes(-len(data) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length = int.from_bytes(data[:2], "little")
        found[int.from_bytes(data[2:4], "little")] = data[4:length]
        data = data[max(4, length + 3 & ~3) :]
    return found


def _ask(kind: int, flags: int, body: bytes) -> list[bytes]:
    """Send one message; returns the bodies of the answers. Raises OSError with the kernel's error."""
    line = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        header = (_HEADER + len(body)).to_bytes(4, "little") + kind.to_bytes(2, "little")
        line.send(header + (flags | _REQUEST).to_bytes(2, "little") + (1).to_bytes(4, "little") + bytes(4) + body)
        bodies: list[bytes] = []
        while True:
            finished = _take(line.recv(1 << 17), bodies)
            if finished or not flags & (_DUMP | _ACK):
                return bodies
    finally:
        line.close()


def _take(data: bytes, bodies: list[bytes]) -> bool:
    """Sort one datagram's messages; whether the last one was among them."""
    while len(data) >= _HEADER:
        length = int.from_bytes(data[:4], "little")
        kind = int.from_bytes(data[4:6], "little")
        if kind == _NLMSG_DONE:
            return True
        if kind == _NLMSG_ERROR:
            error = -int.from_bytes(data[_HEADER : _HEADER + 4], "little", signed=True)
            if error:
                raise OSError(error, os.strerror(error))
            return True
        bodies.append(data[_HEADER:length])
        data = data[length + 3 & ~3 :]
    return False
