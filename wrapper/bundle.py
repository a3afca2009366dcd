"""The bundle's config.json: read once, and rewritten so that nobody ever sees half of it."""

from __future__ import annotations

from hookrun.runtime import go_decoder, jsonio, shape
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os
from hookrun.wrapper.digest import sha256_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIG = "config.json"
ORIGINAL = ".hookrun-original"


class Bundle:
    """A bundle's config as the engine wrote it: `original` are its bytes, `config` the value, never changed in place.

    Beside a rewritten config.json lies ORIGINAL: a line with the SHA-256 of what was written and the pid of who wrote
    it, then the bytes from before. When a create is tried again, the change starts from those, and what is there is
    `is_outdated`; when another hookrun runs in the same process (as the runtime that the first one executed), the
    config is done: `is_patched`. `is_respelled`: `config` says the same in the spec's own words.
    """

    __slots__ = ("config", "directory", "is_outdated", "is_patched", "is_respelled", "original")

    def __init__(self, directory: str) -> None:
        self.directory = directory or "."
        self.original = _read(self.directory)
        self.is_patched = self.is_outdated = False
        earlier = self._earlier()
        if earlier is not None:
            writer, before = earlier
            self.is_patched = writer == os.getpid()
            self.is_outdated = not self.is_patched
            self.original = self.original if self.is_patched else before
        self.config: dict[str, Any] = _parsed(self.original)
        self.is_respelled = go_decoder.normalize(self.config, shape.CONFIG)

    def _earlier(self) -> tuple[int, bytes] | None:
        """Who wrote the config.json that is there now, and what it was before; None if it was no hookrun."""
        try:
            data = jsonio.read_bytes(f"{self.directory}/{ORIGINAL}")
        except OSError:
            return None
        head, _, before = data.partition(b"\n")
        written, _, writer = head.decode("ascii", "replace").partition(" ")
        return (int(writer), before) if written == sha256_hex(self.original) and writer.isdecimal() else None

    def rewrite(self, config: dict[str, Any]) -> bytes:
        """Put `config` in config.json's place, with the same owner and mode; returns its bytes. Raises Failure."""
        data = jsonio.dumps(config).encode()
        head = f"{sha256_hex(data)} {os.getpid()}\n".encode()
        try:
            status = os.stat(f"{self.directory}/{CONFIG}")
            _replace(f"{self.directory}/{ORIGINAL}", head + self.original, status)
            _replace(f"{self.directory}/{CONFIG}", data, status)
        except OSError as error:
            raise Failure(f"cannot rewrite {self.directory}/{CONFIG}: {reason(error)}") from None
        return data


def _read(directory: str) -> bytes:
    """config.json's bytes. The errors are runc's (setupSpec, loadSpec)."""
    if not os.path.isdir(directory):
        try:
            os.listdir(directory)
        except OSError as error:
            raise Failure(f"chdir {directory}: {reason(error)}") from None
    try:
        return jsonio.read_bytes(f"{directory}/{CONFIG}")
    except FileNotFoundError:
        raise Failure(f"JSON specification file {CONFIG} not found") from None
    except OSError as error:
        raise Failure(f"open {CONFIG}: {reason(error)}") from None


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        config = jsonio.loads(data)
    except ValueError as error:
        raise Failure(f"{CONFIG}: {error}") from None
    if not isinstance(config, dict):
        raise Failure(f"{CONFIG}: not a JSON object")
    return config


def _replace(path: str, data: bytes, like: os.stat_result) -> None:
    """A file written beside its place and renamed into it, with the owner and mode of another."""
    temporary = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, like.st_mode & 0o7777)
        while data:
            data = data[os.write(descriptor, data) :]
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
