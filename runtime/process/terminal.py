"""Pseudo-terminals: making one inside the container and handing its master to whoever runs the container.

Sources: pty(7), unix(7) for SCM_RIGHTS; runc's docs/terminals.md.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from hookrun.runtime.documents import Size
from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import filesystems, sockets
from hookrun.runtime.linux.syscalls import NR, call

_TCGETS = 0x5401
_TCSETS = 0x5402
_TERMIOS_SIZE = 36
_ONLCR = 4
_OPOST = 1
_CSIZE = _CS8 = 0o60
_PARENB = 0o400
_RAW_INPUT = 0o2753  # IGNBRK, BRKINT, PARMRK, ISTRIP, INLCR, IGNCR, ICRNL, IXON
_RAW_LOCAL = 0o100113  # ECHO, ECHONL, ICANON, ISIG, IEXTEN
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
_TIOCGPTPEER = 0x5441
_TIOCSWINSZ = 0x5414
_TIOCGWINSZ = 0x5413
_PTMX_INODE = 2
_AT_FDCWD = -100
_RESOLVE_NO_SYMLINKS = 0x04


def check_sanity(*, terminal: bool, detach: bool, console_socket: str) -> None:
    """Refuse what can't work, in runc's words (utils_linux.go checkTerminal). Raises Failure."""
    if detach and terminal and not console_socket:
        raise Failure("cannot allocate tty if runc will detach without setting console socket")
    if (not detach or not terminal) and console_socket:
        raise Failure("cannot use console socket if runc will not detach or allocate tty")


def connect(path: str) -> int:
    """A connection to the console socket. Raises Failure."""
    with failing(f"dial unix {path}: connect"):
        return sockets.connect(path)


def send(line: int, descriptor: int, name: str) -> None:
    """Send a descriptor over a connected unix socket with its name (runc: utils.SendFile). Raises Failure."""
    with failing(f"can't send {name} over its socket"):
        sockets.send(line, name.encode(), descriptor)


def receive(line: int) -> int:
    """The descriptor that comes over a connected unix socket. Raises Failure where none comes."""
    _, descriptor = sockets.receive(line)
    if descriptor < 0:
        raise Failure("the container's process ended before it sent its terminal")
    return descriptor


@dataclass(frozen=True, slots=True)
class Pty:
    """A pair of descriptors of one pseudo-terminal."""

    master: int
    peer: int

    def close(self) -> None:
        os.close(self.master)
        os.close(self.peer)


def allocate() -> Pty:
    """A pseudo-terminal of the devpts at /dev/pts of this mount namespace.

    The peer comes from the master by ioctl, not by a path that the container might have replaced, and the master
    from a real devpts (CVE-2025-52565). Raises Failure.
    """
    how = (os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC).to_bytes(8, "little") + bytes(8)
    how += _RESOLVE_NO_SYMLINKS.to_bytes(8, "little")
    try:
        master = call(NR.openat2, _AT_FDCWD, b"/dev/pts/ptmx\0", how, len(how))
    except OSError as error:
        raise Failure(
            f"failed to open /dev/pts/ptmx: {reason(error)}: does the config mount a devpts at /dev/pts?"
        ) from None
    if not _is_multiplexer(master):
        raise Failure("/dev/pts/ptmx is not a pseudo-terminal multiplexer")
    with failing("failed to open the peer of /dev/pts/ptmx"):
        fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
        peer = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return Pty(master, peer)


def _is_multiplexer(descriptor: int) -> bool:
    """Whether it is the ptmx of a devpts (its second inode), and not a file that the image or the config put there."""
    status = os.fstat(descriptor)
    on_devpts = filesystems.type_of(descriptor) == filesystems.DEVPTS
    return on_devpts and status.st_ino == _PTMX_INODE and status.st_rdev == os.makedev(5, 2)


def set_size(descriptor: int, size: Size | None) -> None:
    """Give the terminal the config's consoleSize, rows and columns. Raises OSError."""
    if not size or not (size.get("height") and size.get("width")):
        return
    packed = size["height"].to_bytes(8, "little")[:2] + size["width"].to_bytes(8, "little")[:2] + bytes(4)
    fcntl.ioctl(descriptor, _TIOCSWINSZ, packed)


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another; what is no terminal has none to give."""
    try:
        fcntl.ioctl(target, _TIOCSWINSZ, fcntl.ioctl(source, _TIOCGWINSZ, bytes(8)))
    except OSError:
        return


def become_standard_streams(descriptor: int) -> None:
    """dup the terminal onto descriptors 0 to 2."""
    for stream in range(3):
        os.dup2(descriptor, stream)


def _ioctl(descriptor: int, request: int, argument: bytes) -> bytes:
    """ioctl(2), again where a signal broke it off: of a background process, SIGTTOU and SIGCONT do. Raises OSError."""
    while True:
        try:
            return fcntl.ioctl(descriptor, request, argument)
        except InterruptedError:
            continue


def clear_onlcr(descriptor: int) -> None:
    """Have the terminal leave a newline as it is: the outer terminal does the translation (docs/terminals.md).

    Called by the container's process, which does without termios.
    """
    state = bytearray(_ioctl(descriptor, _TCGETS, bytes(_TERMIOS_SIZE)))
    # struct termios: c_iflag, then c_oflag, four bytes each.
    state[4:8] = (int.from_bytes(state[4:8], "little") & ~_ONLCR).to_bytes(4, "little")
    _ioctl(descriptor, _TCSETS, bytes(state))


def set_raw(descriptor: int) -> bytes | None:
    """Put a terminal into raw mode; returns what `restore` takes, None for what is no terminal."""
    if not os.isatty(descriptor):
        return None
    saved = _ioctl(descriptor, _TCGETS, bytes(_TERMIOS_SIZE))
    raw = bytearray(saved)
    # cfmakeraw(3), on the four flags that struct termios begins with; as containerd's console package has it, the
    # outer terminal goes on making CR LF of a newline.
    changes = ((0, _RAW_INPUT, 0), (4, 0, _OPOST), (8, _CSIZE | _PARENB, _CS8), (12, _RAW_LOCAL, 0))
    for offset, cleared, added in changes:
        flags = int.from_bytes(raw[offset : offset + 4], "little") & ~cleared | added
        raw[offset : offset + 4] = flags.to_bytes(4, "little")
    _ioctl(descriptor, _TCSETS, bytes(raw))
    return saved


def restore(descriptor: int, saved: bytes) -> None:
    """Give a terminal its mode back."""
    _ioctl(descriptor, _TCSETS, saved)
