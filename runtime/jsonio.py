"""JSON on the hot path: the C scanner and encoder of the json package without the package, which would bring `re`.

`import json` costs 8.8 ms of a cold start, `import _json` 0.4 ms.
"""

from __future__ import annotations

import _json

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 16384  # of more, malloc would give the memory back to the kernel after each read
_BLANK = " \t\n\r"
_CONSTANTS = {"NaN": None, "Infinity": None, "-Infinity": None}


class _Rules:
    """What `_json.make_scanner` asks of a decoder. Go's decoder, and so runc, knows no NaN."""

    __slots__ = ()

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")


_scan = _json.make_scanner(_Rules)  # type: ignore[arg-type]


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
    """The C scanner takes its error class from json.decoder, and raises nothing at all while that is not imported."""
    try:
        found: tuple[Any, int] = _scan(text, start)
    except SystemError:
        import json.decoder  # noqa: F401

        found = _scan(text, start)
    return found


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def _unencodable(value: object) -> None:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _float_text(value: float) -> str:
    return repr(value)


def dumps(value: Any) -> str:
    """The compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None."""
    encode = _json.make_encoder(
        None, _unencodable, _json.encode_basestring_ascii, None, ":", ",", False, False, True
    )
    return "".join(encode(value, 0))


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
