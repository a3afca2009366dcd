"""The network device that every namespace has: its loopback."""

from __future__ import annotations

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_loopback_up() -> None:
    """Set `lo` of this network namespace up (netdevice(7)). Raises OSError."""
    import _socket
    import fcntl

    device = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        request = bytearray(40)
        request[:2] = b"lo"
        fcntl.ioctl(device.fileno(), _SIOCGIFFLAGS, request)
        flags = int.from_bytes(request[16:18], "little") | _IFF_UP
        request[16:18] = flags.to_bytes(2, "little")
        fcntl.ioctl(device.fileno(), _SIOCSIFFLAGS, request)
    finally:
        device.close()
