"""The recorded calls of a host: finding, filtering, and the configs that belong to them."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import jsonpatch

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.admin.trace.index import Index
from hookrun.wrapper.record import kept_configs, record
from hookrun.wrapper.record.line import Line

MAKING = ("create", "run", "restore")
_NAMING = ("docker", "podman")  # the engines that give names

_BLOCK = 256 * 1024
_NAP = 0.1  # seconds between two looks at a record that is followed
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# Ids go into patterns of SQL's GLOB: anything else in a prefix can't be the start of one.
_PREFIX = re.compile(r"[A-Za-z0-9_+.-]+")


@dataclass
class Query:
    """Which calls are asked for. Times are seconds since 1970; what is empty or None restricts nothing.

    `container` is the start of an id, or a whole name.
    """

    container: str = ""
    engine: str = ""
    command: str = ""
    policy: str = ""
    since: float | None = None
    until: float | None = None
    failed: bool = False
    denied: bool = False
    audited: bool = False
    exact: bool = False  # the container's id is whole

    @property
    def is_empty(self) -> bool:
        return self == Query()

    def condition(self) -> tuple[str, list[Any]]:
        """The query as an SQL condition on `calls`, and its values; the container is a prefix."""
        parts: dict[str, list[Any]] = {
            "container IN (SELECT key FROM containers WHERE name = ?)": [self.container] if self.exact else [],
            "container IN (SELECT key FROM containers WHERE name GLOB ? OR called = ?)": (
                [f"{self.container}*", self.container] if self.container and not self.exact else []
            ),
            "engine = ?": [self.engine] if self.engine else [],
            "command = ?": [self.command] if self.command else [],
            "key IN (SELECT call FROM policies WHERE policy = ?)": [self.policy] if self.policy else [],
            "time >= ?": [] if self.since is None else [self.since],
            "time <= ?": [] if self.until is None else [self.until],
        }
        chosen = {text: values for text, values in parts.items() if values}
        flags = [name for name in ("failed", "denied", "audited") if getattr(self, name)]
        return " AND ".join([*chosen, *flags]) or "1", list(itertools.chain(*chosen.values()))

    def fits(self, call: Line, name: str = "") -> bool:
        """Whether a call is one that is asked for; `name` is its container's."""
        time = trace_index.seconds_of(call["time"])
        return (
            (call["container"].startswith(self.container) or self.container == name)
            and self.engine in ("", call["engine"])
            and self.command in ("", call["command"])
            and (not self.policy or any(one["policy"] == self.policy for one in call["decisions"]))
            and (self.since is None or time >= self.since)
            and (self.until is None or time <= self.until)
            and (not self.failed or trace_index.is_failed(call))
            and (not self.denied or trace_index.is_denied(call))
            and (not self.audited or trace_index.is_audited(call))
        )


def parsed_time(text: str) -> float:
    """A point in time: `90s`, `15m`, `2h`, `3d`, `1w` ago, or a date with or without time (RFC 3339, else local).

    Raises Failure.
    """
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if found:
        return (datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise Failure(f"invalid time {text!r}: give 15m, 2h, 3d or 2026-01-31T12:00:00Z") from None


class Store:
    """The record in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._index: Index | None = None

    def last(self, count: int) -> list[Line]:
        """The last calls, the oldest first, read from the end without an index."""
        found: list[Line] = []
        for path in reversed(trace_index.record_files(self.directory)):
            for line in lines_backwards(path):
                if len(found) == count:
                    return found[::-1]
                call = parsed(line)
                if call is not None:
                    found.append(call)
        return found[::-1]

    def follow(self, last: int) -> Iterator[Line]:
        """The last calls, then each new one as it happens; never ends."""
        path = self.directory / record.CURRENT
        file: BinaryIO | None = None
        position = path.stat().st_size if path.exists() else 0
        yield from self.last(last)
        while True:
            if file is None and path.exists():
                file = path.open("rb")
                file.seek(position)
            moved = file is not None and not _is_at(file, path)  # looked at first: what follows reads to its end
            yield from _new_calls(file)
            if file is not None and moved:
                file.close()
                file, position = None, 0
            else:
                time.sleep(_NAP)

    def index(self) -> Index:
        """The index, brought up to date."""
        self._index = self._index or Index(self.directory)
        self._index.update()
        return self._index

    def select(self, query: Query, last: int | None = None) -> Iterator[Line]:
        """The calls that were asked for, the oldest first; `last` keeps only that many of the newest."""
        if query.is_empty and last is not None:
            yield from self.last(last)
            return
        index = self.index()
        where, values = query.condition()
        if last is None:
            places = index.places(where, values, "time, key")
        else:
            places = iter(list(index.places(where, values, f"time DESC, key DESC LIMIT {last}"))[::-1])
        for place in places:
            call = parsed(index.line(place))
            if call is not None:
                yield call

    def find(self, prefix: str) -> Line:
        """The call whose id starts so; of a container, also by its name, the call that made it, else its last one.

        Raises Failure where there is none, or more than one id starts so.
        """
        _check_prefix(prefix)
        index = self.index()
        prefix = index.id_of(prefix) or prefix
        found = list(index.places("id GLOB ?", [f"{prefix}*"], "time DESC LIMIT 2"))
        containers = self._containers(index, prefix)
        if len(found) + len(containers) > 1 and prefix not in containers:
            raise Failure(f"{prefix} is not unique: give more of the id")
        if not found or prefix in containers:
            return self._call_of_container(index, containers, prefix)
        return json.loads(index.line(found[0]))  # type: ignore[no-any-return]

    def _call_of_container(self, index: Index, containers: list[str], prefix: str) -> Line:
        if not containers:
            raise Failure(f"no call and no container in {self.directory} has an id that starts with {prefix}")
        name = prefix if prefix in containers else containers[0]
        where = "container = (SELECT key FROM containers WHERE name = ?)"
        order = "command IN ('create', 'run', 'restore') DESC, time DESC, key DESC LIMIT 1"
        (place,) = index.places(where, [name], order)
        return json.loads(index.line(place))  # type: ignore[no-any-return]

    def container(self, prefix: str) -> str:
        """The full id of a recorded container, also by its name. Raises Failure where no id, or more than one, fits."""
        _check_prefix(prefix)
        index = self.index()
        prefix = index.id_of(prefix) or prefix
        containers = self._containers(index, prefix)
        if prefix in containers:
            return prefix
        if not containers:
            raise Failure(f"no container in {self.directory} has an id that starts with {prefix}")
        if len(containers) > 1:
            raise Failure(f"{prefix} is not unique: give more of the container's id")
        return containers[0]

    @staticmethod
    def _containers(index: Index, prefix: str) -> list[str]:
        query = (
            "SELECT name FROM containers WHERE name GLOB ? AND EXISTS"
            " (SELECT 1 FROM calls WHERE calls.container = containers.key) ORDER BY length(name) LIMIT 2"
        )
        return [name for (name,) in index.database.execute(query, (f"{prefix}*",))]

    def end_of(self, call: Line) -> Line:
        """The call that deleted the container which a call made; the call itself where there is none yet."""
        if call["command"] not in MAKING:
            return call
        query = Query(call["container"], command="delete", since=trace_index.seconds_of(call["time"]), exact=True)
        return next(self.select(query), call)

    def before(self, call: Line) -> Any:
        """The config as the engine wrote it, masked. Raises Failure where the call has none or it is gone."""
        if not call["config"]:
            raise Failure(f"call {call['id']}: `{call['command']}` got no config from the engine, or failed before it")
        path = self.directory / kept_configs.DIRECTORY / call["config"]["before"]
        try:
            packed = path.with_name(f"{path.name}.json{kept_configs.PACKED}")
            if packed.exists():
                return json.loads(zlib.decompress(packed.read_bytes()))
            return json.loads(path.with_name(f"{path.name}.json").read_bytes())
        except FileNotFoundError:
            raise Failure(f"the config of call {call['id']} was not kept, or pruned since: {path}.json") from None
        except (OSError, ValueError, zlib.error) as error:
            text = reason(error) if isinstance(error, OSError) else error
            raise Failure(f"cannot read {path}.json: {text}") from None

    def after(self, call: Line) -> Any:
        """The config that the container ran with, masked. Raises Failure as `before` does."""
        before, change = self.before(call), call["config"]
        return jsonpatch.apply_patch(before, change["patch"]) if change else before


class Names:
    """What the engines called the containers of a record."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: Index | None = None
        self._known: dict[str, str] = {}

    def of(self, call: Line) -> str:
        """The name of a call's container, "" where no engine gave one. It is in the line of the call that made it."""
        container: str = call["container"]
        if call.get("name"):
            self._known[container] = call["name"]
        elif container not in self._known and call["engine"].endswith(_NAMING):
            self._index = self._index or self._store.index()
            self._known[container] = self._index.called(container)
        return self._known.get(container, "")

    def on(self, call: Line) -> Line:
        """A call with its container's name."""
        return {**call, "name": self.of(call)}

    def label(self, call: Line) -> str:
        """The container as people know it: by its name, else by its whole id."""
        return self.of(call) or str(call["container"])


def parsed(line: bytes) -> Line | None:
    """A line of the record; None for a notice and for what is no record."""
    try:
        return trace_index.parsed(line)
    except ValueError:
        return None


def _new_calls(file: BinaryIO | None) -> Iterator[Line]:
    """The whole lines that a file has beyond where it was read up to."""
    while file is not None:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        call = parsed(line)
        if call is not None:
            yield call


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def lines_backwards(path: Path) -> Iterator[bytes]:
    """A file's whole lines, the last one first, in bounded memory."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        rest = b""
        is_end = True
        while position:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            parts = (file.read(size) + rest).split(b"\n")
            rest = parts[0]
            whole = parts[1:]
            if is_end and whole:
                whole.pop()  # after the last newline: nothing, or a line in the making
                is_end = False
            yield from reversed(whole)
        if rest and not is_end:
            yield rest


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise Failure(f"invalid id {prefix!r}: letters, digits and _+-. only")
