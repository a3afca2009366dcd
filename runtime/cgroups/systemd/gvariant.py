"""The text form of a D-Bus value, in which annotations give systemd properties (GVariant's, as godbus reads it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hookrun.runtime.cgroups.systemd.dbus import Variant, first_type

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {
    "y": (0, 0xFF),
    "n": (-0x8000, 0x7FFF),
    "q": (0, 0xFFFF),
    "i": (-0x80000000, 0x7FFFFFFF),
    "u": (0, 0xFFFFFFFF),
    "x": (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
    "t": (0, 0xFFFFFFFFFFFFFFFF),
}
_SECONDS_TYPES = frozenset("ynqiuxtd")
_MICROSECONDS = 1_000_000
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_BLANK = " \t\r\n"
_STOPS = " \t\r\n,]>"


def parse(text: str) -> Variant:
    """The value that a text stands for: `uint64 600`, `'text'`, `true`, `['a', 'b']`. Raises ValueError."""
    reader = _Reader(text)
    value = reader.value(None)
    reader.end()
    return value


def seconds_to_microseconds(value: Variant) -> Variant:
    """The same time in the unit that systemd's `…USec` properties have. Raises ValueError for what is no number."""
    if value.signature not in _SECONDS_TYPES:
        raise ValueError("not a number")
    return Variant("t", int(value.value * _MICROSECONDS) & 0xFFFFFFFFFFFFFFFF)


@dataclass(slots=True)
class _Reader:
    _text: str
    _at: int = 0

    def _peek(self) -> str:
        while self._text[self._at : self._at + 1] and self._text[self._at] in _BLANK:
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self, letter: str) -> bool:
        if self._peek() != letter:
            return False
        self._at += 1
        return True

    def end(self) -> None:
        if self._peek():
            raise ValueError(f"unexpected text at character {self._at}")

    def value(self, wanted: str | None) -> Variant:
        """A value, of the `wanted` type where the text around it says which."""
        letter = self._peek()
        if letter in ("'", '"'):
            return _of_type(wanted or "s", self._string())
        if letter == "[":
            return self._array(wanted)
        if letter == "<":
            return self._variant()
        if letter == "@":
            signature = self._word()[1:]
            if first_type(signature) != signature:
                raise ValueError(f"invalid type {signature!r}")
            return self.value(signature)
        word = self._word()
        if word in _KEYWORDS:
            return self.value(_KEYWORDS[word])
        return _scalar(word, wanted)

    def _word(self) -> str:
        start = self._at
        while self._text[self._at : self._at + 1] and self._text[self._at] not in _STOPS:
            self._at += 1
        if start == self._at:
            raise ValueError(f"missing value at character {start}")
        return self._text[start : self._at]

    def _string(self) -> str:
        quote = self._text[self._at]
        self._at += 1
        found = ""
        while True:
            letter = self._text[self._at : self._at + 1]
            if not letter:
                raise ValueError("unterminated string")
            self._at += 1
            if letter == quote:
                return found
            if letter == "\\":
                letter = self._text[self._at : self._at + 1]
                self._at += 1
                letter = _ESCAPES.get(letter, letter)
            found += letter

    def _array(self, wanted: str | None) -> Variant:
        if wanted is not None and wanted[0] != "a":
            raise ValueError(f"an array is not of type {wanted}")
        element = wanted[1:] if wanted else None
        self._take("[")
        values: list[Any] = []
        while not self._take("]"):
            if values and not self._take(","):
                raise ValueError(f"missing comma at character {self._at}")
            one = self.value(element)
            element = one.signature
            values.append(one.value)
        if element is None:
            raise ValueError("empty array without a type")
        return Variant(f"a{element}", values)

    def _variant(self) -> Variant:
        self._take("<")
        inner = self.value(None)
        if not self._take(">"):
            raise ValueError(f"missing > at character {self._at}")
        return Variant("v", inner)


def _scalar(word: str, wanted: str | None) -> Variant:
    if word in ("true", "false"):
        return _of_type(wanted or "b", word == "true")
    try:
        return _of_type(wanted or "i", int(word, 0))
    except ValueError:
        if wanted not in (None, "d"):
            raise
    try:
        return Variant("d", float(word))
    except ValueError:
        raise ValueError(f"unknown value {word!r}") from None


def _of_type(signature: str, value: Any) -> Variant:
    fits = {"b": bool, "s": str, "o": str, "g": str}
    if signature in fits:
        suitable = isinstance(value, fits[signature])
    elif signature == "d":
        suitable = isinstance(value, int) and not isinstance(value, bool)
        value = float(value) if suitable else value
    else:
        low, high = _RANGES.get(signature, (0, -1))
        suitable = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    if not suitable:
        raise ValueError(f"{value!r} is not of type {signature}")
    return Variant(signature, value)
