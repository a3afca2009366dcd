"""The compiled snapshot: settings, hooks and policies in the one file that the hot path opens.

Layout: MAGIC, the format version in four bytes (big-endian), the checksum of the rest in 8 bytes; then, as the rest, a
value of Python's marshal. marshal's format belongs to one minor version of Python, so that is part of MAGIC's line.

The checksum finds damage, not forgery, which the file's owner and mode prevent: it is the SipHash that Python checks
its own .pyc files by (PEP 552), built in and five times as fast as its SHA-256, which took 1 ms for 1,000 policies.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from hookrun.hooks.inject import Compiled
from hookrun.policies.decide import Plan
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux.files import read_bytes
from hookrun.wrapper import ownership

NAME = "snapshot"
HISTORY = "history"
ON_ERROR = "on-error"
DENY = "deny"
ALLOW = "allow"

_NONE = "there is no snapshot on this host: containers run as with plain runc until `hookctl apply`"
_MAGIC = b"hookrun snapshot for %s\n" % sys.implementation.cache_tag.encode()
_FORMAT = 4
_CHECKSUM = 8
_HEADER = len(_MAGIC) + 4 + _CHECKSUM


class Content(TypedDict, total=False):
    """What a snapshot file holds, all of it but for one that is yet to get its number."""

    number: int
    """Its place in the history."""
    settings: Mapping[str, Any]
    """`settings.Values`."""
    profiles: Mapping[str, Mapping[str, Any]]
    """The settings of each profile, by name."""
    hooks: Compiled
    policies: Plan


@dataclass(slots=True)
class Snapshot:
    """What was found. `content` is None without a usable snapshot; `notice` then says why, for the record."""

    directory: str
    content: Content | None
    notice: str = ""
    is_damaged: bool = False

    @property
    def has_policies(self) -> bool:
        """Whether any policy is in force."""
        plan = (self.content or {}).get("policies")
        return bool(plan and plan["policies"])

    def demand(self) -> None:
        """Raise Failure if the snapshot is damaged, unless the operator's onError is `allow`."""
        if self.is_damaged and on_error(self.directory) != ALLOW:
            raise Failure(self.notice)


class _Damaged(Exception):
    """Why a snapshot that is there cannot be used."""


def packed(content: Content) -> bytes:
    """A snapshot file's bytes. `content` is made of dicts, lists, tuples, strings, bytes, numbers, booleans, None."""
    body = marshal.dumps(cast("dict[str, Any]", content))
    return _MAGIC + _FORMAT.to_bytes(4, "big") + _checksum(body) + body


def _checksum(body: bytes | memoryview) -> bytes:
    return _imp.source_hash(_FORMAT, body)


def load(directory: str) -> Snapshot:
    """The snapshot in a directory. A damaged one is found out here, and complained about by `Snapshot.demand`."""
    path = f"{directory}/{NAME}"
    try:
        _check_owner(path)
        return Snapshot(directory, _unpacked(read_bytes(path)))
    except FileNotFoundError:
        return _missing(directory, path)
    except (OSError, _Damaged) as error:
        why = reason(error) if isinstance(error, OSError) else error
        notice = f"cannot use the snapshot {path}: {why}; `hookctl apply` writes it again"
        return Snapshot(directory, None, notice, is_damaged=True)


def _missing(directory: str, path: str) -> Snapshot:
    """A host that never had a snapshot is one that runs plain runc; one that had is not."""
    if not os.path.exists(f"{directory}/{HISTORY}"):
        return Snapshot(directory, None, _NONE)
    notice = f"the snapshot {path} is gone, but one was in force; `hookctl rollback` or `hookctl apply` writes it again"
    return Snapshot(directory, None, notice, is_damaged=True)


def _check_owner(path: str) -> None:
    """Whoever can write the snapshot decides what runs as root."""
    problem = ownership.problem(path)
    if problem:
        raise _Damaged(problem)


def _unpacked(data: bytes) -> Content:
    if not data.startswith(_MAGIC) or data[len(_MAGIC) : len(_MAGIC) + 4] != _FORMAT.to_bytes(4, "big"):
        raise _Damaged("it is of another format, or for another version of Python")
    body = memoryview(data)[_HEADER:]
    if _checksum(body) != data[_HEADER - _CHECKSUM : _HEADER]:
        raise _Damaged("its content does not match its checksum")
    content: Content = marshal.loads(body)
    return content


def on_error(directory: str) -> str:
    """`allow` or `deny`: whether containers start without a usable snapshot. Kept in a file of its own."""
    try:
        word = read_bytes(f"{directory}/{ON_ERROR}").strip()
    except OSError:
        return DENY
    return ALLOW if word == ALLOW.encode() else DENY
