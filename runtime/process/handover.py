"""What the caller asked to be handed: a pid file, descriptors for the container, a pidfd."""

from __future__ import annotations

import os

from hookrun.runtime.errors import Failure, failing


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid so that a reader finds no half of it (runc: createPidFile). Raises Failure.

    A temporary file beside it that is already there is another's: runc fails on one too.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    with failing(f"open {temporary}"):
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_SYNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
        )
        try:
            os.write(descriptor, str(pid).encode())
        finally:
            os.close(descriptor)
        os.rename(temporary, path)


def listen_descriptors() -> int:
    """How many sockets the caller passes by socket activation (sd_listen_fds(3)); they start at descriptor 3."""
    if os.getenv("LISTEN_PID") != str(os.getpid()):
        return 0
    try:
        return max(0, int(os.getenv("LISTEN_FDS", "0")))
    except ValueError:
        return 0


def check_preserved(first: int, count: int) -> None:
    """Refuse --preserve-fds where one of the promised descriptors is not open. Raises Failure."""
    for number in range(first, first + count):
        try:
            os.fstat(number)
        except OSError:
            raise Failure(
                f"unable to stat preserved-fd {number - first} (of {count}): "
                f"stat /proc/self/fd/{number}: no such file or directory"
            ) from None
