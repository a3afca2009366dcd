"""What a bundle's config.json was before hookrun rewrote it, kept where only root writes (rootless: the caller).

Whoever writes a bundle could forge a note in it, and so have a config pass for one that is judged already. So the notes
lie in a directory of hookrun's own, each named by the bundle's device and inode: a line with the SHA-256 of what was
written, the process that wrote it (pid and start time) and the bundle's path, then the bytes from before.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from hookrun.runtime.linux import files, pids
from hookrun.runtime.linux.files import read_bytes
from hookrun.wrapper import ownership
from hookrun.wrapper.digest import sha256_hex

_LOOKED_AT = 4  # notes of other bundles, at each new one: those whose bundle is gone go


@dataclass(frozen=True, slots=True)
class Original:
    """A note. `before` are the bytes; `is_ours`: this very process wrote what is there now."""

    before: bytes
    is_ours: bool


def find(directory: str, bundle: str, now: bytes) -> Original | None:
    """The note about a bundle whose config.json is `now`; None where another wrote that, or nobody knows."""
    try:
        digest, writer, _, before = _read(directory, _name(os.stat(bundle)))
    except (OSError, ValueError):
        return None
    return Original(before, writer == _this_process()) if digest == sha256_hex(now) else None


def keep(directory: str, bundle: str, before: bytes, written: bytes) -> None:
    """Note what a bundle's config.json was `before` it becomes what is to be `written`. Raises OSError."""
    os.makedirs(directory, 0o700, exist_ok=True)
    _demand_own(directory)
    name = _name(os.stat(bundle))
    path = os.fsencode(os.path.abspath(bundle))
    head = b"%s %s %s\n" % (sha256_hex(written).encode(), _this_process().encode(), path)
    files.replace(f"{directory}/{name}", head + before)
    _sweep(directory, name)


def forget(directory: str, bundle: str, config: str) -> bytes | None:
    """Drop the note about a bundle; the bytes from before, if the file `config` is still what was written."""
    try:
        name = _name(os.stat(bundle))
        digest, _, _, before = _read(directory, name)
        os.unlink(f"{directory}/{name}")
        return before if digest == sha256_hex(read_bytes(config)) else None
    except (OSError, ValueError):
        return None


def _name(bundle: os.stat_result) -> str:
    return f"{bundle.st_dev}-{bundle.st_ino}"


def _this_process() -> str:
    return f"{os.getpid()}.{pids.stat(os.getpid())[1]}"


def _demand_own(directory: str) -> None:
    """Raises OSError where others could have written the notes."""
    problem = ownership.problem(directory)
    if problem:
        raise PermissionError(errno.EPERM, problem, directory)


def _read(directory: str, name: str) -> tuple[str, str, str, bytes]:
    """Digest, writer, bundle and the bytes from before. Raises OSError, ValueError."""
    data = read_bytes(f"{directory}/{name}")
    _demand_own(directory)
    head, _, before = data.partition(b"\n")
    digest, writer, path = os.fsdecode(head).split(" ", 2)
    return digest, writer, path, before


def _sweep(directory: str, own: str) -> None:
    """Drop notes of bundles that are gone; a few at each call, others at each."""
    names = [name for name in os.listdir(directory) if name != own]
    first = os.getpid() % max(1, len(names))
    for name in (names[first:] + names[:first])[:_LOOKED_AT]:
        try:
            if not _is_needed(directory, name):
                os.unlink(f"{directory}/{name}")
        except OSError:  # another call was quicker
            continue


def _is_needed(directory: str, name: str) -> bool:
    _, dot, writer = name.partition(".")
    if dot:  # half written
        return os.path.exists(f"/proc/{writer}")
    try:
        return _name(os.stat(_read(directory, name)[2])) == name
    except (OSError, ValueError):
        return False
