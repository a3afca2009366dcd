"""TOML files of other programs, edited so that their comments, their order and their indentation stay."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable, Table

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.engines.engine import laid_out_as_before

Document = MutableMapping[str, Any]
Edit = Callable[[Document], None]
Keys = tuple[str, ...]

_HEADER = re.compile(r"(?m)^[ \t]*\[[^#\n]*\]")
_PLACE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


class TomlFile:
    """A file, its text and its values. One that is not there is empty; `found` is its text, None if it is not there."""

    def __init__(self, path: Path) -> None:
        """Raises Failure, with line and column, where the file can't be read as TOML."""
        self.path = path
        self.found = files.read(path)
        self.text = self.found or ""
        self.values = parsed(path, self.text)

    def get(self, *keys: str) -> Any:
        """The value at the keys, None where there is none."""
        return at(self.values, keys)

    def edited(self, *edits: Edit) -> str | None:
        """The text after the edits, None if they leave nothing. Raises Failure where more than they say would change.

        The edits are made on the plain values too, and both must come out the same.
        """
        wanted = copy.deepcopy(self.values)
        document = self._document()
        for edit in edits:
            edit(wanted)
            self._make(edit, document)
        if _without_empty(wanted) == _without_empty(self.values):
            return self.found
        if not _without_empty(wanted):
            return None
        text = tomlkit.dumps(document)
        if _without_empty(parsed(self.path, text)) != _without_empty(wanted):
            raise self._refusal()
        return laid_out_as_before(self.path, text, _content)

    def _make(self, edit: Edit, document: Document) -> None:
        try:
            edit(document)
        except (TOMLKitError, LookupError, TypeError, ValueError):
            raise self._refusal() from None

    def _refusal(self) -> Failure:
        return Failure(f"{self.path}: this edit would change the file's layout: make it by hand; nothing was changed")

    def _document(self) -> Document:
        try:
            return tomlkit.parse(self.text)
        except TOMLKitError as error:
            raise Failure(f"{self.path}: {error}; nothing was changed") from None


def at(values: Any, keys: Keys) -> Any:
    """The value at the keys, None where there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, MutableMapping) else None
    return values


def put(keys: Keys, value: Any) -> Edit:
    """Set the value at the keys; the tables on the way are made."""

    def edit(document: Document) -> None:
        where = document
        indent = ""
        for key in keys[:-1]:
            if key not in where:
                where[key] = {} if isinstance(where, InlineTable) else tomlkit.table(is_super_table=True)
            where = where[key]
            indent = _indent(where, indent)
        where[keys[-1]] = value
        if isinstance(where[keys[-1]], Table) and indent:
            _indented(where[keys[-1]], indent)

    return edit


def drop(keys: Keys) -> Edit:
    """Take away what is at the keys, and the tables that are empty then."""

    def edit(document: Document) -> None:
        parent = at(document, keys[:-1])
        if not isinstance(parent, MutableMapping) or keys[-1] not in parent:
            return
        del parent[keys[-1]]
        if not parent and len(keys) > 1:
            drop(keys[:-1])(document)

    return edit


def _indented(table: Table, indent: str) -> None:
    """Have a new table as deep in the page as its neighbours: its header at `indent`, what it holds two further."""
    table.trivia.indent = indent
    for _, item in table.value.body:
        if isinstance(item, Table):
            _indented(item, indent + "  ")
        else:
            item.trivia.indent = indent + "  "


def _indent(where: Document, default: str) -> str:
    """How far the headers in a table are indented: its first one's, else its own."""
    tables = [item for item in where.values() if isinstance(item, Table) and not item.is_super_table()]
    if tables:
        return tables[0].trivia.indent
    return where.trivia.indent if isinstance(where, Table) and where.trivia.indent else default


def parsed(path: Path, text: str) -> dict[str, Any]:
    """A text's values. Raises Failure, with line and column, where it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.fullmatch(str(error))
        where, what = (f"{path}:{found[2]}:{found[3]}", found[1]) if found else (_end(path, text), str(error))
        raise Failure(f"{where}: {what.replace(' (at end of document)', '')}; nothing was changed") from None
    except RecursionError:
        raise Failure(f"{path}: nested too deeply; nothing was changed") from None


def _end(path: Path, text: str) -> str:
    lines = text.split("\n")
    return f"{path}:{len(lines)}:{len(lines[-1]) + 1}"


def _content(text: str) -> object:
    """What a text says, and in which words: all but blank lines, indentation and headers, comments among it."""
    return tomllib.loads(text), _HEADER.sub("", text).split()


def _without_empty(value: Any) -> Any:
    """The same without tables that hold nothing, which mean nothing in these files."""
    if not isinstance(value, dict):
        return value
    kept = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item != {}}
