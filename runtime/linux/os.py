"""Python's `os` as the hot path needs it: its C part whole, and of its Python part the few functions used here.

`import os` executes 4.4 of the 20 million instructions of a cold start, most of them for the abstract classes behind
`os.environ`; this module takes a tenth of that. Text is UTF-8 with surrogates for other bytes, for the launchers start
the interpreter with `-X utf8`.
"""

from __future__ import annotations

import posix
from posix import *  # noqa: F403

_exit = posix._exit
SEEK_SET = 0
SEEK_CUR = 1
defpath = "/bin:/usr/bin"

_FILE_TYPE = 0o170000
_DIRECTORY = 0o040000


def fsencode(text: str | bytes) -> bytes:
    """The bytes that a file name or an argument of this text has."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def fsdecode(data: str | bytes) -> str:
    """The text for the bytes of a file name or an argument."""
    return data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")


environb = posix.environ
del environ  # noqa: F821 - of bytes, where Python has one of text


def getenv(name: str, default: str = "") -> str:
    """The value of a variable of the environment."""
    value = environb.get(fsencode(name))
    return default if value is None else fsdecode(value)


def makedirs(name: str, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Make a directory, and with the usual mode those above it. Raises OSError."""
    missing: list[str] = []
    above = path.dirname(name.rstrip("/"))
    while above and not path.exists(above):
        missing.append(above)
        above = path.dirname(above.rstrip("/"))
    for directory in reversed(missing):
        _mkdir(directory, 0o777, exist_ok=True)
    _mkdir(name, mode, exist_ok)


def _mkdir(name: str, mode: int, exist_ok: bool) -> None:
    try:
        posix.mkdir(name, mode)
    except OSError:
        if not exist_ok or not path.isdir(name):
            raise


class path:
    """What is used here of `os.path`."""

    @staticmethod
    def exists(name: str | int) -> bool:
        try:
            posix.stat(name)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def lexists(name: str) -> bool:
        try:
            posix.lstat(name)
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def isdir(name: str | int) -> bool:
        try:
            return posix.stat(name).st_mode & _FILE_TYPE == _DIRECTORY
        except (OSError, ValueError):
            return False

    @staticmethod
    def samestat(one: posix.stat_result, other: posix.stat_result) -> bool:
        return one.st_ino == other.st_ino and one.st_dev == other.st_dev

    @staticmethod
    def split(name: str) -> tuple[str, str]:
        directory, slash, last = name.rpartition("/")
        return directory.rstrip("/") or directory + slash, last

    @staticmethod
    def dirname(name: str) -> str:
        return path.split(name)[0]

    @staticmethod
    def basename(name: str) -> str:
        return name.rpartition("/")[2]

    @staticmethod
    def join(directory: str, name: str) -> str:
        if name.startswith("/") or not directory:
            return name
        return directory + name if directory.endswith("/") else f"{directory}/{name}"

    @staticmethod
    def normpath(name: str) -> str:
        return posix._path_normpath(name) or "."  # type: ignore[attr-defined]

    @staticmethod
    def abspath(name: str) -> str:
        return path.normpath(name if name.startswith("/") else path.join(posix.getcwd(), name))

    @staticmethod
    def relpath(name: str, start: str) -> str:
        wanted = [part for part in path.abspath(name).split("/") if part]
        base = [part for part in path.abspath(start).split("/") if part]
        shared = 0
        while shared < min(len(wanted), len(base)) and wanted[shared] == base[shared]:
            shared += 1
        return "/".join([".."] * (len(base) - shared) + wanted[shared:]) or "."

    @staticmethod
    def realpath(name: str) -> str:
        """As the kernel resolves it; what is not there is resolved as far as it goes."""
        try:
            descriptor = posix.open(name, posix.O_PATH | posix.O_CLOEXEC)
        except (OSError, ValueError):
            from posixpath import realpath

            return realpath(name)
        try:
            return posix.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            posix.close(descriptor)
