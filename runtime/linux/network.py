"""The network device that every namespace has: its loopback."""

from __future__ import annotations

import fcntl
import socket

_IFREQ_SIZE = 40
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_loopback_up() -> None:
    """Set `lo` of this network namespace up (netdevice(7)). Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        request = bytearray(_IFREQ_SIZE)
        request[:2] = b"lo"
        fcntl.ioctl(device, _SIOCGIFFLAGS, request)
        flags = int.from_bytes(request[16:18], "little") | _IFF_UP
        request[16:18] = flags.to_bytes(2, "little")
        fcntl.ioctl(device, _SIOCSIFFLAGS, request)
