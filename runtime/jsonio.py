"""JSON on the hot path, read and written in C.

Under a plain python3 by the C part of the json package alone: the package would bring `re`, 8.8 ms of a cold start.
hookrun-start has the C part of simplejson instead, since Python's static library lacks its own. What either refuses
is judged by the standard library's Python, in its words.
"""

from __future__ import annotations

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _c: Any
else:
    try:
        import _json as _c
    except ImportError:
        import _speedups as _c

_CHUNK = 16384  # of more, malloc would give the memory back to the kernel after each read
_BLANK = " \t\n\r"


class _Rules:
    """What a scanner asks of a decoder. Go's decoder, and so runc, knows no NaN."""

    __slots__ = ()

    encoding = None
    strict = True
    object_hook = None
    object_pairs_hook = None
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
    """The value of a JSON text; the last of two equal keys counts, as in Go.

    Raises ValueError with the place for anything else than one JSON value in UTF-8.
    """
    text = data if isinstance(data, str) else _decoded(data)
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = _scan_explaining(text, start)
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text[end:].strip(_BLANK):
        raise ValueError(f"more than one JSON value: surplus text at character {end}")
    return value


def _scan_explaining(text: str, start: int) -> tuple[Any, int]:
    """Each C scanner has its own words for what it refuses; the standard library's Python has the same everywhere."""
    try:
        found: tuple[Any, int] = _scan(text, start)
    except (StopIteration, SystemError, ValueError):
        from json import decoder, scanner

        decoder.scanstring = decoder.py_scanstring  # type: ignore[attr-defined]
        judge = decoder.JSONDecoder(parse_constant=_Rules.parse_constant)
        found = scanner.py_make_scanner(judge)(text, start)  # type: ignore[attr-defined]
    return found


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def dumps(value: Any) -> str:
    """The compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None."""
    return "".join(_encoder()(value, 0))


def read(path: str, what: str = "") -> Any:
    """The JSON value in a file. Raises Failure, which names the file, where it can't be read or is no JSON."""
    try:
        data = read_bytes(path)
    except OSError as error:
        raise Failure(f"open {path}: {reason(error)}") from None
    try:
        return loads(data)
    except ValueError as error:
        raise Failure(f"{what or path}: {error}") from None


def read_bytes(path: str) -> bytes:
    """A file's content, without the buffered layers that `open` would import and build. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        data = os.read(descriptor, size + 1) if size else b""
        if 0 < len(data) <= size:
            return data
        # It has grown since, or its size can't be known before, as in /proc.
        while part := os.read(descriptor, _CHUNK):
            data += part
        return data
    finally:
        os.close(descriptor)
