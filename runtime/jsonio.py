"""JSON on the hot path, read and written in C; what is accepted is what Go's decoder, and so runc, accepts.

Under a plain python3 by the C part of the json package alone: the package would bring `re`, 8.8 ms of a cold start.
hookrun-start has the C part of simplejson instead, since Python's static library lacks its own. What either refuses
is judged by the standard library's Python, in its words.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hookrun.runtime.errors import Failure, failing
from hookrun.runtime.linux.files import read_bytes

_c: Any
try:
    _c = import_module("_json")
except ImportError:
    _c = import_module("_speedups")

_NO_RUNE = "\ufffd"  # what Go puts in the place of what is no character
_BLANK = " \t\n\r"


class Repeated(dict[str, Any]):
    """An object that has a name more than once. The last value counts here; `pairs` has all of them, in their order.

    Whoever knows what the object means takes the pairs away (see `go_decoder`).
    """

    __slots__ = ("pairs",)

    pairs: list[tuple[str, Any]]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = Repeated(value)
    repeated.pairs = pairs
    return repeated


class _Rules:
    """What a scanner asks of a decoder. Go's decoder, and so runc, knows no NaN."""

    __slots__ = ()

    encoding = None
    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    array_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")


def _unencodable(value: object) -> None:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _encoder() -> Any:
    form = (None, _unencodable, _c.encode_basestring_ascii, None, ":", ",", False, False, True)
    if _c.__name__ == "_json":
        return _c.make_encoder(*form)
    # no decimals; namedtuples and other tuples are arrays; integers of every size are numbers
    return _c.make_encoder(*form, {}, False, False, True, None, None, None, False, False, None, False)


_scan = _c.make_scanner(_Rules)
string = _c.encode_basestring
"""A string as JSON text that is not all ASCII."""


def loads(data: str | bytes) -> Any:
    """The first JSON value of a text. Raises ValueError with the place if there is none."""
    return decoded(data)[0]


def decoded(data: str | bytes) -> tuple[Any, bool]:
    """The first JSON value of a text, and whether every decoder reads it alike.

    As in Go's `json.Decoder`: what follows the value is not looked at, and U+FFFD takes the place of a byte that is not
    UTF-8 and of half a surrogate pair. For names that are there twice see `Repeated`. Raises ValueError with the place
    if there is no value.
    """
    text, is_utf_8 = (data, True) if isinstance(data, str) else _text(data)
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = _scan_explaining(text, start)
        has_pairs = "\\ud" in text or "\\uD" in text
        whole = _without_halves(value) if has_pairs else value
    except StopIteration as stop:
        raise ValueError(f"invalid JSON at character {stop.value}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return whole, is_utf_8 and not text[end:].strip(_BLANK) and (not has_pairs or whole == value)


def _scan_explaining(text: str, start: int) -> tuple[Any, int]:
    """Each C scanner has its own words for what it refuses; the standard library's Python has the same everywhere."""
    try:
        found: tuple[Any, int] = _scan(text, start)
    except (StopIteration, SystemError, ValueError):
        from json import decoder, scanner

        decoder.scanstring = decoder.py_scanstring  # type: ignore[attr-defined]
        judge = decoder.JSONDecoder(parse_constant=_Rules.parse_constant, object_pairs_hook=_object)
        found = scanner.py_make_scanner(judge)(text, start)  # type: ignore[attr-defined]
    return found


def _text(data: bytes) -> tuple[str, bool]:
    """The text of bytes, and whether they were UTF-8."""
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError:
        # Python marks such bytes one by one with this handler, Go as well
        marked = data.decode("utf-8", "surrogateescape")
        return "".join(map(_rune, marked)), False


def _rune(character: str) -> str:
    return _NO_RUNE if "\ud800" <= character <= "\udfff" else character


def _without_halves(value: Any) -> Any:
    """The value without halves of surrogate pairs, which an escape can name and no string can hold."""
    if isinstance(value, str):
        return "".join(map(_rune, value))
    if isinstance(value, list):
        return [_without_halves(element) for element in value]
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Repeated) else value.items()
        return _object([(_without_halves(name), _without_halves(element)) for name, element in pairs])
    return value


def dumps(value: Any) -> str:
    """The compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None."""
    return "".join(_encoder()(value, 0))


def read(path: str, what: str = "") -> Any:
    """The JSON value in a file. Raises Failure, which names the file, where it can't be read or is no JSON."""
    with failing(f"open {path}"):
        data = read_bytes(path)
    try:
        return loads(data)
    except ValueError as error:
        raise Failure(f"{what or path}: {error}") from None
