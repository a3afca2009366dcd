"""Files that are there whole or not at all."""

from __future__ import annotations

from hookrun.runtime.linux import os


def replace(path: str, data: bytes) -> None:
    """Write a file, 0600, in place of what is there: a crash leaves the old or the new one.

    Raises OSError; the old file is still there then, and nothing of the new one.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
