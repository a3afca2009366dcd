"""YAML documents whose values know where they stand: errors are `file:line:column: text`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean


class Invalid(Exception):
    """Something in a document is wrong. `text` is the whole line for the user: `file:line:column: what is wrong`."""

    def __init__(self, text: str, place: tuple[int, int] = (1, 1)) -> None:
        super().__init__(text)
        self.text = text
        self.place = place


# Members that may hold a date without quotes: YAML 1.2 has no dates, but they look like what they are.
_DATES = ("until", "time")


class _Date(str):
    """A plain scalar that YAML 1.1 takes for a date."""


class _Constructor(RoundTripConstructor):
    """ruamel.yaml's, but for dates, which keep their spelling: ruamel.yaml loses their time zone."""

    def construct_yaml_timestamp(self, node: Any, values: Any = None) -> Any:
        return _Date(node.value)


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_timestamp)


@dataclass(frozen=True)
class Node:
    """A value of a document. `value` is plain Python: dict, list, str, int, float, bool, None.

    `files` has what the document's nodes were read from beside its own text: path to text.
    """

    file: str
    value: Any
    line: int
    column: int
    what: str
    _source: Any = None
    files: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def fail(self, text: str) -> NoReturn:
        """Raise Invalid for this place."""
        what = f"{self.what}: " if self.what else ""
        raise Invalid(f"{self.file}:{self.line}:{self.column}: {what}{text}", (self.line, self.column))

    def members(self, known: Iterable[str] | None = None) -> dict[str, Node]:
        """The members of an object, which must be among the known ones. Raises Invalid."""
        if not isinstance(self.value, dict):
            self.fail(f"it must be a mapping, not {_kind(self.value)}")
        if known is not None:
            names = list(known)
            for name in self.value:
                if name not in names:
                    self._at_key(name).fail(f"there is no {name!r} here{suggestion(name, names)}")
        return {name: self._member(name) for name in self.value}

    def key(self, name: str) -> Node:
        """The place of a member's name."""
        return self._at_key(name)

    def elements(self) -> list[Node]:
        """The elements of a list. Raises Invalid."""
        if not isinstance(self.value, list):
            self.fail(f"it must be a list, not {_kind(self.value)}")
        return [self._element(number) for number in range(len(self.value))]

    def one_or_more(self) -> list[Node]:
        """The elements of a list, or the value itself."""
        return self.elements() if isinstance(self.value, list) else [self]

    def text(self) -> str:
        """The value, which must be a string. Raises Invalid."""
        if not isinstance(self.value, str):
            self.fail(f"it must be a string, not {_kind(self.value)}{_quote_hint(self.value)}")
        found: str = self.value
        return found

    def words(self) -> tuple[str, ...]:
        """A text or a list of texts. Raises Invalid."""
        return tuple(node.text() for node in self.one_or_more())

    def flag(self) -> bool:
        """The value, which must be true or false. Raises Invalid."""
        if not isinstance(self.value, bool):
            self.fail(f"it must be true or false, not {_kind(self.value)}")
        return self.value

    def number(self) -> int | float:
        """The value, which must be a number. Raises Invalid."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"it must be a number, not {_kind(self.value)}")
        return self.value

    def whole_number(self) -> int:
        """The value, which must be a whole number. Raises Invalid."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.fail(f"it must be a whole number, not {_kind(self.value)}")
        return self.value

    def word_of(self, words: Iterable[str]) -> str:
        """The value, which must be one of some words. Raises Invalid."""
        known = list(words)
        if self.value not in known:
            self.fail(f"it must be one of {', '.join(known)}, not {self.value!r}{suggestion(str(self.value), known)}")
        return str(self.value)

    def _at_key(self, name: str) -> Node:
        line, column = _place(self._source, "key", name, (self.line, self.column))
        return Node(self.file, name, line, column, self.what, files=self.files)

    def _member(self, name: str) -> Node:
        line, column = _place(self._source, "value", name, (self.line, self.column))
        return Node(self.file, self.value[name], line, column, _joined(self.what, name), self._source[name], self.files)

    def _element(self, number: int) -> Node:
        line, column = _place(self._source, "item", number, (self.line, self.column))
        source = self._source[number]
        return Node(self.file, self.value[number], line, column, f"{self.what}[{number}]", source, self.files)


def read(file: str, text: str) -> list[Node]:
    """The documents of a YAML text, without empty ones. Raises Invalid."""
    try:
        return [_node(file, found) for found in _yaml().load_all(text) if found is not None]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise Invalid(f"{file}:{line}:{column}: {_one_line(error.problem or error.context or 'not YAML')}") from None
    except YAMLError as error:
        raise Invalid(f"{file}:1:1: {_one_line(str(error))}") from None
    except RecursionError:
        raise Invalid(f"{file}:1:1: nested too deeply") from None


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.Constructor = _Constructor
    return yaml


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of the known names is near, else the known names."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it can have {', '.join(names)}"


def _node(file: str, source: Any) -> Node:
    line, column = (source.lc.line + 1, source.lc.col + 1) if hasattr(source, "lc") else (1, 1)
    return Node(file, _plain(file, source, (line, column)), line, column, "", source)


def _plain(file: str, source: Any, place: tuple[int, int]) -> Any:
    """Plain Python of what ruamel.yaml loads. Raises Invalid for what JSON has no value for."""
    if isinstance(source, CommentedMap):
        plain = {}
        for name in source:
            if not isinstance(name, str):
                line, column = _place(source, "key", name, place)
                raise Invalid(f"{file}:{line}:{column}: the key {name!r} must be a string: write it in quotes")
            value = source[name]
            if isinstance(value, _Date) and name in _DATES:
                value = str(value)
            plain[str(name)] = _plain(file, value, _place(source, "value", name, place))
        return plain
    if isinstance(source, CommentedSeq):
        return [_plain(file, one, _place(source, "item", number, place)) for number, one in enumerate(source)]
    if source is None or isinstance(source, bool):
        return source
    if isinstance(source, ScalarBoolean):
        return bool(source)
    for kind in (str, int, float):
        if isinstance(source, kind) and not isinstance(source, _Date):
            return kind(source)
    raise Invalid(f"{file}:{place[0]}:{place[1]}: {source} is not a JSON value: write it in quotes")


def _place(source: Any, kind: str, name: Any, default: tuple[int, int]) -> tuple[int, int]:
    """Line and column, from 1, of a key, its value or an element; `default` where the document does not say."""
    try:
        line, column = getattr(source.lc, kind)(name)
    except (AttributeError, KeyError, TypeError, IndexError):
        return default
    return line + 1, column + 1


def _joined(what: str, name: str) -> str:
    return f"{what}.{name}" if what else name


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _quote_hint(value: Any) -> str:
    return ": write it in quotes" if isinstance(value, bool | int | float) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
