"""The bundle's config.json: read once, and rewritten so that nobody ever sees half of it."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import files
from hookrun.runtime.spec import go_decoder, shape
from hookrun.wrapper.patch import originals
from hookrun.wrapper.patch.originals import Original

CONFIG = "config.json"


class Bundle:
    """A bundle's config as the engine wrote it: `original` are its bytes, `config` the value, never changed in place.

    `notes` is where `originals` are kept, "" for nowhere. When a create is tried again, the change starts from what was
    there before the first, and what is there is `is_outdated`; when another hookrun runs in the same process (as the
    runtime that the first one executed), the config is done: `is_patched`. `is_respelled`: `config` says the same in
    the spec's own words.
    """

    __slots__ = ("_notes", "config", "directory", "is_outdated", "is_patched", "is_respelled", "original")

    def __init__(self, directory: str, notes: str = "") -> None:
        self.directory = directory or "."
        self._notes = notes
        self.original = _read(self.directory)
        self.is_patched = self.is_outdated = False
        earlier = self._earlier()
        if earlier is not None:
            self.is_patched = earlier.is_ours
            self.is_outdated = not earlier.is_ours
            self.original = self.original if self.is_patched else earlier.before
        self.config, is_read_alike = _parsed(self.original)
        self.is_respelled = go_decoder.normalize(self.config, shape.CONFIG) or not is_read_alike

    def _earlier(self) -> Original | None:
        """What hookrun noted about the config.json that is there now, None if another wrote it."""
        if not os.path.isdir(self._notes):
            return None
        return originals.find(self._notes, self.directory, self.original)

    def rewrite(self, config: dict[str, Any]) -> bytes:
        """Put `config` in config.json's place, with the same owner and mode; returns its bytes. Raises Failure."""
        data = jsonio.dumps(config).encode()
        self._note(data)
        try:
            _replace(f"{self.directory}/{CONFIG}", data)
        except OSError as error:
            raise Failure(f"cannot rewrite {self.directory}/{CONFIG}: {reason(error)}") from None
        return data

    def _note(self, data: bytes) -> None:
        """Without a note, where none can be kept, a create that is tried again starts from what is there."""
        if self._notes:
            try:
                originals.keep(self._notes, self.directory, self.original, data)
            except OSError:
                return


def restore(directory: str, notes: str) -> None:
    """Leave a bundle whose container is deleted as the engine made it, unless somebody changed its config since."""
    path = f"{directory}/{CONFIG}"
    before = originals.forget(notes, directory, path)
    if before is not None:
        try:
            _replace(path, before)
        except OSError:  # read-only by now, or gone
            return


def of_container(root: str, container_id: str, *, may_live: bool) -> str:
    """The bundle of a container, by runc's or crun's state file; "" for one that lives, unless it `may_live`."""
    if "/" in container_id:
        return ""
    for name in ("state.json", "status"):
        try:
            state = jsonio.loads(files.read_bytes(f"{root}/{container_id}/{name}"))
            labels = (state.get("config") or {}).get("labels") or [f"bundle={state.get('bundle') or ''}"]
            bundle = next(label[7:] for label in labels if label.startswith("bundle="))
            lives = os.path.exists(f"/proc/{state.get('init_process_pid') or state['pid']}")
            return "" if lives and not may_live else str(bundle)
        except (OSError, ValueError, AttributeError, TypeError, KeyError, StopIteration):
            continue
    return ""


def _read(directory: str) -> bytes:
    """config.json's bytes. The errors are runc's (setupSpec, loadSpec)."""
    if not os.path.isdir(directory):
        try:
            os.listdir(directory)
        except OSError as error:
            raise Failure(f"chdir {directory}: {reason(error)}") from None
    try:
        return files.read_bytes(f"{directory}/{CONFIG}")
    except FileNotFoundError:
        raise Failure(f"JSON specification file {CONFIG} not found") from None
    except OSError as error:
        raise Failure(f"open {CONFIG}: {reason(error)}") from None


def _parsed(data: bytes) -> tuple[dict[str, Any], bool]:
    """The config, and whether every decoder reads it alike."""
    try:
        config, is_read_alike = jsonio.decoded(data)
    except ValueError as error:
        raise Failure(f"{CONFIG}: {error}") from None
    if not isinstance(config, dict):
        raise Failure(f"{CONFIG}: not a JSON object")
    return config, is_read_alike


def _replace(path: str, data: bytes) -> None:
    """A file written beside its place and renamed into it, with the owner and mode of what was there."""
    like = os.stat(path)
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
