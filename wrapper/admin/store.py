"""The snapshot in force and those before it.

STATE/snapshot is what the hot path reads. STATE/history/NUMBER/ has each snapshot ever applied with the texts it was
made of; the snapshot's own "number" says which one is in force.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookrun.policies import policy
from hookrun.policies.decide import Plan
from hookrun.policies.policy import Policy
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.sources import Sources, trouble
from hookrun.wrapper.settings import Values
from hookrun.wrapper.snapshot import Content

_SALT = "salt"
_TEXTS = "sources.json"
_ABOUT = "about.json"
_NOBODY = 0xFFFFFFFF  # a process that no login began
_KEPT = 50


@dataclass(frozen=True)
class Entry:
    """One applied snapshot. `applied` is in seconds since 1970."""

    number: int
    directory: Path

    @property
    def data(self) -> bytes:
        return (self.directory / snapshot.NAME).read_bytes()

    @property
    def texts(self) -> dict[str, str]:
        """The files that it was made of: path to text."""
        return texts_of(self.directory)

    @property
    def applied(self) -> float:
        return (self.directory / snapshot.NAME).stat().st_mtime

    @property
    def about(self) -> dict[str, str]:
        """Who applied it (`who`), and why (`why`), as far as that was said."""
        return _strings_in(self.directory / _ABOUT)

    @property
    def digest(self) -> str:
        """The SHA-256 of the files that it was made of: hosts with the same files have the same."""
        return hashlib.sha256(json.dumps(self.texts, sort_keys=True).encode()).hexdigest()

    def told(self) -> dict[str, Any]:
        """The same for JSON."""
        applied = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.applied))
        return {
            "number": self.number,
            "applied": applied,
            "who": self.about.get("who", ""),
            "why": self.about.get("why", ""),
            "digest": self.digest,
            "files": sorted(self.texts),
        }


def texts_of(directory: Path) -> dict[str, str]:
    return _strings_in(directory / _TEXTS)


def _strings_in(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def history(host: Host) -> list[Entry]:
    """All snapshots kept, the oldest first; what an interrupted `apply` left is none. Raises Failure."""
    entries = [Entry(number, host.history / str(number)) for number in _numbers(host)]
    return [entry for entry in entries if (entry.directory / snapshot.NAME).exists()]


def _numbers(host: Host) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(host.history) if name.isdecimal())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failure(f"cannot read {host.history}: {reason(error)}; only root can read it") from None


def running(host: Host) -> Content | None:
    """The content of the snapshot in force; None where there is none that could be used."""
    return snapshot.load(str(host.state)).content


def policies(host: Host) -> dict[str, Policy]:
    """The policies in force, by name."""
    plan = (running(host) or {}).get("policies")
    return {one.name: one for one in map(policy.unpacked, plan["policies"] if plan else ())}


def running_entry(host: Host) -> Entry | None:
    """The history's entry of the snapshot in force."""
    content = running(host) or {}
    return next((entry for entry in history(host) if entry.number == content.get("number")), None)


def content(host: Host, sources: Sources, plan: Plan) -> Content:
    """A snapshot's content, see `wrapper/snapshot.py`; without a number yet. Raises Failure."""
    salt = _salt(host)
    return {
        "settings": _salted(sources.settings.values, salt),
        "profiles": {name: _salted(values, salt) for name, values in sources.settings.profiles.items()},
        "hooks": sources.hooks,
        "policies": plan,
    }


def _salted(values: Values, salt: str) -> Values:
    return {**values, "mask": {**values["mask"], "salt": salt}}


def _salt(host: Host) -> str:
    """The salt of this host's masked values, made once."""
    path = host.state / _SALT
    found = files.read(path)
    if not found:
        found = secrets.token_hex(16)
        files.replace(path, found, 0o600)
    return found


def apply(host: Host, new: Content, sources: Sources, why: str) -> int:
    """Put a snapshot in force and keep it in the history; returns its number. Raises Failure."""
    number = max(_numbers(host), default=0) + 1
    data = snapshot.packed({**new, "number": number})
    directory = host.history / str(number)
    try:
        host.state.mkdir(parents=True, exist_ok=True)
        _refuse_others(host.state)
        directory.mkdir(parents=True)
        host.history.chmod(0o700)
        files.replace_bytes(directory / snapshot.NAME, data)
        files.replace(directory / _TEXTS, json.dumps(sources.texts), 0o600)
        files.replace(directory / _ABOUT, json.dumps({"who": _who(), "why": why}), 0o600)
        files.replace(host.state / snapshot.ON_ERROR, f"{sources.settings.on_error}\n")
        files.replace_bytes(host.snapshot, data)
    except OSError as error:
        raise Failure(f"cannot write {error.filename or host.state}: {reason(error)}") from None
    _drop_old(history(host))
    return number


def roll_back(host: Host, number: int | None) -> int:
    """Put an earlier snapshot in force, the one before by default; returns its number. Raises Failure."""
    found = _before(host) if number is None else entry(host, number)
    loaded(found)
    files.replace_bytes(host.snapshot, found.data)
    return found.number


def entry(host: Host, number: int) -> Entry:
    """A snapshot that was applied. Raises Failure."""
    for found in history(host):
        if found.number == number:
            return found
    raise Failure(f"there is no snapshot with number {number}; see `hookctl history`")


def loaded(entry: Entry) -> Content:
    """A snapshot's content. Raises Failure."""
    found = snapshot.load(str(entry.directory))
    if found.content is None:
        raise Failure(f"snapshot {entry.number} can no longer be used: {found.notice}")
    return found.content


def _before(host: Host) -> Entry:
    entries = history(host)
    now = (running(host) or {}).get("number", entries[-1].number + 1 if entries else 0)
    earlier = [found for found in entries if found.number < now]
    if not earlier:
        raise Failure("there is no snapshot before the one in force; see `hookctl history`")
    return earlier[-1]


def _who() -> str:
    """The user who logged in and called, also by sudo or su (proc(5), /proc/pid/loginuid)."""
    try:
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        login = _NOBODY
    user = os.getuid() if login == _NOBODY else login
    try:
        return os.environ.get("SUDO_USER") or pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _refuse_others(directory: Path) -> None:
    problem = trouble(directory)
    if problem:
        raise Failure(problem)


def _drop_old(entries: list[Entry]) -> None:
    for entry in entries[:-_KEPT]:
        for path in entry.directory.iterdir():
            path.unlink()
        entry.directory.rmdir()


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
