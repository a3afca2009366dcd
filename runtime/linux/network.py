"""The network device that every namespace has: its loopback."""

from __future__ import annotations

import fcntl
import os

from hookrun.runtime.linux.syscalls import NR, call

_AF_INET = 2
_SOCK_DGRAM_CLOEXEC = 0o2000002
_IFREQ_SIZE = 40
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_loopback_up() -> None:
    """Set `lo` of this network namespace up (netdevice(7)). Raises OSError."""
    # Every container needs this one socket: the socket module would cost it half a millisecond.
    device = call(NR.socket, _AF_INET, _SOCK_DGRAM_CLOEXEC, 0)
    try:
        request = bytearray(_IFREQ_SIZE)
        request[:2] = b"lo"
        fcntl.ioctl(device, _SIOCGIFFLAGS, request)
        flags = int.from_bytes(request[16:18], "little") | _IFF_UP
        request[16:18] = flags.to_bytes(2, "little")
        fcntl.ioctl(device, _SIOCSIFFLAGS, request)
    finally:
        os.close(device)
