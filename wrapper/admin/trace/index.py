"""An index over the record's files, so that a million calls are searched and counted without reading them again.

It is an SQLite database beside the record, `index.sqlite`, written by hookctl only. A file is known by its inode and
its first bytes, whatever it is called by now, and read from where the last reading ended. The index holds nothing that
the record does not hold too: a damaged one, or one of another version, is thrown away and built anew.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, cast

from loguru import logger

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import output
from hookrun.wrapper.record import record
from hookrun.wrapper.record.line import Decision, Line

NAME = "index.sqlite"
_VERSION = 3
_HEAD = 64
_GIVING_STATUS = ("run", "exec")
_BEGIN = b'{"format":'
_SCHEMA = """
CREATE TABLE files(inode INTEGER PRIMARY KEY, head BLOB, size INTEGER);
CREATE TABLE containers(key INTEGER PRIMARY KEY, name TEXT UNIQUE, called TEXT DEFAULT '');
CREATE INDEX containers_called ON containers(called);
CREATE TABLE calls(
    key INTEGER PRIMARY KEY, id TEXT, time REAL, container INTEGER, engine TEXT, command TEXT, ms REAL,
    failed INTEGER, denied INTEGER, audited INTEGER, root TEXT, inode INTEGER, offset INTEGER, length INTEGER
);
CREATE INDEX calls_id ON calls(id);
CREATE INDEX calls_container ON calls(container, time);
CREATE INDEX calls_time ON calls(time);
CREATE INDEX calls_group ON calls(engine, command, ms, failed, denied, audited, time);
CREATE TABLE policies(call INTEGER, policy TEXT, effect TEXT, ms REAL);
CREATE INDEX policies_name ON policies(policy, ms);
CREATE INDEX policies_call ON policies(call);
CREATE TABLE hooks(call INTEGER, stage TEXT, path TEXT, ms REAL, failed INTEGER);
CREATE INDEX hooks_path ON hooks(path, stage, ms);
CREATE INDEX hooks_call ON hooks(call);
"""


class Effect(StrEnum):
    """What a policy did about a call, or in audit mode would have done."""

    denied = "denied"
    changed = "changed"
    would_deny = "would_deny"
    would_change = "would_change"
    exempt = "exempt"
    none = "none"


# A decision's action, or in audit mode the word after "would be" in its message (policies/decide.py).
_EFFECTS = {"denied": Effect.denied, "patched": Effect.changed, "hooked": Effect.changed, "exempt": Effect.exempt}
_AUDITED = {Effect.denied: Effect.would_deny, Effect.changed: Effect.would_change}
_WOULD_BE = re.compile(r"would be (\w+)")


class Place(NamedTuple):
    """Where a call's line is."""

    inode: int
    offset: int
    length: int


def parsed(line: bytes) -> Line | None:
    """A line of the record; None for a notice. Raises ValueError for what is no record.

    A full disk leaves a torn line, which the next one follows without a newline.
    """
    try:
        call: Any = json.loads(line)
    except ValueError:
        call = json.loads(line[max(0, line.rfind(_BEGIN)) :])
    if not isinstance(call, dict) or not ("argv" in call or "notice" in call):
        raise ValueError("it has no command line")
    return None if "notice" in call else cast(Line, call)


def seconds_of(time: str) -> float:
    """The record's time stamp in seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


def effect_of(decision: Decision) -> Effect:
    """What a policy's decision did about its call."""
    if decision["action"] != "audited":
        return _EFFECTS.get(decision["action"], Effect.none)
    found = _WOULD_BE.match(decision["message"])
    return _AUDITED.get(_EFFECTS.get(found[1], Effect.none), Effect.none) if found else Effect.none


def is_denied(call: Line) -> bool:
    """Whether a policy forbade the call."""
    return any(effect_of(decision) is Effect.denied for decision in call["decisions"])


def is_audited(call: Line) -> bool:
    """Whether a policy in audit mode would have forbidden the call."""
    return any(effect_of(decision) is Effect.would_deny for decision in call["decisions"])


def is_failed(call: Line) -> bool:
    """Whether the command failed; of another runtime, `run` and `exec` may give back their process's own status."""
    return bool(call["error"]) or bool(call["delegate"] and call["status"] and call["command"] not in _GIVING_STATUS)


def result(call: Line) -> str:
    """How the call ended, in one word: `denied` by a policy, `failed` for any other reason, or `ok`."""
    if is_denied(call):
        return "denied"
    return "failed" if is_failed(call) else "ok"


class Index:
    """The index of one record's directory, as of the last `update`."""

    def __init__(self, directory: Path) -> None:
        """Raises Failure where no index can be kept at all."""
        self._directory = directory
        self.files: dict[int, Path] = {}
        self.database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        path = self._directory / NAME
        try:
            return _connected(path)
        except (OSError, sqlite3.DatabaseError) as error:
            logger.info("{} is rebuilt: {}", path, error)
        try:
            path.unlink(missing_ok=True)
            return _connected(path)
        except (OSError, sqlite3.DatabaseError) as error:
            logger.warning("cannot keep an index in {}: {}", path, error)
            return _connected(None)

    def update(self) -> None:
        """Take in what was recorded since the last time, and forget the files that are gone. Raises Failure."""
        self.files = {path.stat().st_ino: path for path in record_files(self._directory)}
        try:
            with self.database:
                self.database.execute("BEGIN IMMEDIATE")
                self._forget_missing()
                self._read_new()
        except sqlite3.Error as error:
            raise Failure(f"{self._directory / NAME}: {error}; remove the file: it is then rebuilt") from None

    def _forget_missing(self) -> None:
        for inode, head in self.database.execute("SELECT inode, head FROM files").fetchall():
            path = self.files.get(inode)
            if path is None or not _starts_with(path, head):
                old = "SELECT key FROM calls WHERE inode = ?"
                for name in ("policies", "hooks"):
                    self.database.execute(f"DELETE FROM {name} WHERE call IN ({old})", (inode,))
                self.database.execute("DELETE FROM calls WHERE inode = ?", (inode,))
                self.database.execute("DELETE FROM files WHERE inode = ?", (inode,))

    def _read_new(self) -> None:
        known = dict(self.database.execute("SELECT inode, size FROM files").fetchall())
        new = [(inode, path, known.get(inode, 0)) for inode, path in self.files.items()]
        total = sum(max(0, path.stat().st_size - start) for _, path, start in new)
        with output.progress("reading the record", total) as advance:
            for inode, path, start in new:
                end = self._read_file(inode, path, start, advance)
                with path.open("rb") as file:
                    head = file.read(min(_HEAD, end))
                self.database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (inode, head, end))

    def _read_file(self, inode: int, path: Path, start: int, advance: Any) -> int:
        """Take in the lines from `start` on; returns where the last whole one ends."""
        position = start
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._take_in(line, Place(inode, position, len(line)), path)
                position += len(line)
                advance(len(line))
        return position

    def _take_in(self, line: bytes, place: Place, path: Path) -> None:
        try:
            call = parsed(line)
            if call is not None:
                self._insert(call, place)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("{}: not a line of the record at byte {}: {}", path, place.offset, error)

    def _insert(self, call: Line, place: Place) -> None:
        execute = self.database.execute
        key = execute(
            "INSERT INTO calls(id, time, container, engine, command, ms, failed, denied, audited, root, inode,"
            " offset, length) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                call["id"],
                seconds_of(call["time"]),
                self._container_key(call["container"]),
                call["engine"],
                call["command"],
                call["milliseconds"],
                is_failed(call),
                is_denied(call),
                is_audited(call),
                call["globals"].get("root", ""),
                *place,
            ),
        ).lastrowid
        if call.get("name"):
            execute("UPDATE containers SET called = ? WHERE name = ?", (call["name"], call["container"]))
        for decision in call["decisions"]:
            row = (key, decision["policy"], effect_of(decision), decision["ms"])
            execute("INSERT INTO policies VALUES (?, ?, ?, ?)", row)
        for hook in call["hook_results"]:
            failed = hook.get("status") != 0
            execute("INSERT INTO hooks VALUES (?, ?, ?, ?, ?)", (key, hook["stage"], hook["path"], hook["ms"], failed))

    def _container_key(self, name: str) -> int:
        row = self.database.execute("SELECT key FROM containers WHERE name = ?", (name,)).fetchone()
        if row is None:
            return self.database.execute("INSERT INTO containers(name) VALUES (?)", (name,)).lastrowid or 0
        return int(row[0])

    def called(self, container: str) -> str:
        """The name that its engine gave a container, "" where that is not known."""
        row = self.database.execute("SELECT called FROM containers WHERE name = ?", (container,)).fetchone()
        return row[0] if row else ""

    def id_of(self, called: str) -> str:
        """The id of the last container of this name, "" where there is none."""
        query = "SELECT name FROM containers WHERE called = ? ORDER BY key DESC LIMIT 1"
        row = self.database.execute(query, (called,)).fetchone()
        return row[0] if row else ""

    def places(self, where: str, values: list[Any], order: str) -> Iterator[Place]:
        """Where the calls are for which an SQL condition holds."""
        query = f"SELECT calls.inode, calls.offset, calls.length FROM calls WHERE {where} ORDER BY {order}"
        for row in self.database.execute(query, values):
            yield Place(*row)

    def line(self, place: Place) -> bytes:
        """The line at a place. Raises Failure where the file went away meanwhile."""
        path = self.files[place.inode]
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_ino != place.inode:
                    raise Failure(f"{path} was rotated while it was read; try again")
                return os.pread(descriptor, place.length, place.offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Failure(f"cannot read {path}: {reason(error)}") from None


def record_files(directory: Path) -> list[Path]:
    """The record's files, the oldest first. Raises Failure where the directory can't be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith("record-") and name.endswith(".jsonl"))
        current = directory / record.CURRENT
        return [*(directory / name for name in names), *([current] if current.exists() else [])]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failure(f"cannot read the record in {directory}: {reason(error)}") from None


def _connected(path: Path | None) -> sqlite3.Connection:
    """A database with the tables of this version; None is one that ends with the process."""
    if path is not None and not path.parent.is_dir():
        path = None
    if path is not None and not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path or "", timeout=60, isolation_level=None)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        database.close()
        raise sqlite3.DatabaseError(f"it is of version {version}")
    database.execute("PRAGMA synchronous = OFF")
    if not version:
        with database:
            database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
    return database


def _starts_with(path: Path, head: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(head)) == head
