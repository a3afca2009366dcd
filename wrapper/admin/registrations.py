"""What `hookctl engine register` wrote for which runtime, kept in the state directory.

It is what `unregister` puts back byte for byte, and how hookctl knows files that are not where an engine's always are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.engines.engine import Change, Engine

_NAME = "registrations.json"
_MODE = 0o600  # an engine's file may hold secrets, and its text is kept here


@dataclass(frozen=True)
class Registration:
    """A file that has an engine call a launcher.

    `file` is the engine's configuration as hookctl was told; `changed` is what was written for it. `before` is the text
    there before, None where there was no file; `after` is the digest of what was written. `made` says whether
    hookctl made the file, by this registration or by one before it. `default` says whether the runtime was the engine's
    default then; `drop_ins` are the files of `--only`, path to the digest of what was written.
    """

    engine: str
    name: str
    file: str
    changed: str
    before: str | None
    after: str
    made: bool
    default: bool = False
    drop_ins: dict[str, str] = field(default_factory=dict)


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep other hookctls from registering and unregistering meanwhile. Raises Failure."""
    try:
        state.mkdir(0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot open {state}: {reason(error)}") from None
    with files.locked(state):
        yield


def all_of(state: Path) -> list[Registration]:
    """Every registration of this host. Raises Failure."""
    path = state / _NAME
    text = files.read(path)
    if text is None:
        return []
    try:
        return [Registration(**entry) for entry in json.loads(text)]
    except (ValueError, TypeError):
        raise Failure(f"{path}: damaged: remove it, then register each engine again") from None


def note(state: Path, engine: Engine, name: str, change: Change, drop_ins: list[Change]) -> None:
    """Keep what `put_back` and `hookctl doctor` will need of the changes that `register` made. Raises Failure.

    The text to put back is the one before the name's first registration, unless somebody has edited the file since.
    """
    mine, others = _of(state, engine, name, change)
    found = engine.runtime(name)
    default = found is not None and found.is_default
    written = {str(one.path): digest(one.after) for one in drop_ins} or (mine.drop_ins if mine else {})
    if mine and change.is_none:
        renewed = replace(mine, default=default, drop_ins=written)
        _write(state, [renewed if one == mine else one for one in all_of(state)])
        return
    is_untouched = mine is not None and mine.after == digest(change.before)
    new = Registration(
        engine=engine.name,
        name=name,
        file=str(engine.file),
        changed=str(change.path),
        before=mine.before if mine and is_untouched else change.before,
        after=digest(change.after),
        made=change.before is None or any(one.made for one in (mine, *others) if one),
        default=default,
        drop_ins=written,
    )
    _write(state, [*(one for one in all_of(state) if one != mine), new])


def put_back(state: Path, engine: Engine, name: str, change: Change) -> Change:
    """The change that leaves the file as it was to the byte, if nobody has edited it since `register`. Raises Failure.

    Else it is the `change` given, but a file that hookctl has not made is there afterwards, if only to say nothing.
    """
    mine, _ = _of(state, engine, name, change)
    if mine and mine.after == digest(change.before):
        return replace(change, after=mine.before)
    if mine and change.after is None and not mine.made:
        return replace(change, after=engine.empty)
    return change


def forget(state: Path, engine: Engine, name: str, change: Change) -> None:
    """Drop a registration; none is no fault. Raises Failure."""
    mine, _ = _of(state, engine, name, change)
    if mine:
        _write(state, [one for one in all_of(state) if one != mine])


def _of(state: Path, engine: Engine, name: str, change: Change) -> tuple[Registration | None, list[Registration]]:
    """What was noted of a file: for a runtime, and for others."""
    noted = [one for one in all_of(state) if one.changed == str(change.path)]
    mine = next((one for one in noted if (one.engine, one.name) == (engine.name, name)), None)
    return mine, [one for one in noted if one != mine]


def digest(text: str | None) -> str:
    """The SHA-256 of a file's text: what tells a text from others; no file is none of them."""
    return hashlib.sha256(text.encode()).hexdigest() if text is not None else ""


def _write(state: Path, entries: list[Registration]) -> None:
    path = state / _NAME
    if entries:
        files.replace(path, json.dumps([asdict(one) for one in entries], indent=1) + "\n", _MODE)
    else:
        path.unlink(missing_ok=True)
