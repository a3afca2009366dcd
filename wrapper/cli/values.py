"""Flag values as Go's `flag`, `strconv` and `time` packages read and print them."""

from __future__ import annotations

from collections.abc import Callable

from hookrun.runtime.context import FALSE_WORDS, TRUE_WORDS
from hookrun.runtime.errors import quoted
from hookrun.wrapper.cli import grammar

_BASES = {"x": 16, "b": 2, "o": 8}
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": grammar.SECOND,
    "m": 60 * grammar.SECOND,
    "h": 3600 * grammar.SECOND,
}
_DIGITS = "0123456789abcdef"
_INT64_MAX = 2**63 - 1

PARSE_ERROR = "parse error"
RANGE_ERROR = "value out of range"


def boolean(text: str) -> bool:
    """strconv.ParseBool. Raises ValueError."""
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise ValueError(PARSE_ERROR)


def integer(text: str) -> int:
    """A 64-bit integer in Go's own notation: sign, `0x`, `0b`, `0o`, leading 0 for octal, `_` between digits."""
    sign, digits, base = _prefix(text)
    if "_" in digits:
        digits = _without_underscores(text, digits, base)
    return _in_range(sign * _digits(digits, base))


def _prefix(text: str) -> tuple[int, str, int]:
    sign = -1 if text[:1] == "-" else 1
    digits = text[1:] if text[:1] in ("-", "+") else text
    if digits[:1] != "0" or len(digits) == 1:
        return sign, digits, 10
    base = _BASES.get(digits[1].lower())
    return (sign, digits[2:], base) if base else (sign, digits[1:], 8)


def _without_underscores(text: str, digits: str, base: int) -> str:
    """Go allows one underscore between digits, and one between a prefix and the first digit."""
    if "__" in digits or digits.endswith("_") or (digits.startswith("_") and base == 10):
        raise ValueError(PARSE_ERROR)
    return digits.replace("_", "")


def decimal(text: str) -> int:
    """strconv.ParseInt(text, 10, 64), whose errors urfave/cli's slices print as they are."""
    sign = -1 if text[:1] == "-" else 1
    digits = text[1:] if text[:1] in ("-", "+") else text
    try:
        return _in_range(sign * _digits(digits, 10))
    except ValueError as error:
        words = "invalid syntax" if str(error) == PARSE_ERROR else str(error)
        raise ValueError(f"strconv.ParseInt: parsing {quoted(text)}: {words}") from None


def _digits(text: str, base: int) -> int:
    allowed = _DIGITS[:base]
    if not text or not all(digit in allowed for digit in text.lower()):
        raise ValueError(PARSE_ERROR)
    try:
        return int(text, base)
    except ValueError:  # more digits than Python turns into a number (sys.int_info.default_max_str_digits)
        raise ValueError(RANGE_ERROR) from None


def _in_range(value: int) -> int:
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise ValueError(RANGE_ERROR)
    return value


def duration(text: str) -> int:
    """time.ParseDuration: `1h15m30.5s`, `300ms`, `0`. Returns nanoseconds; raises ValueError."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = 0
    if not rest:
        raise ValueError(PARSE_ERROR)
    while rest:
        nanoseconds, rest = _duration_part(rest)
        total += nanoseconds
    if total > _INT64_MAX + (text[0] == "-"):
        raise ValueError(PARSE_ERROR)
    return -total if text[0] == "-" else total


def _duration_part(text: str) -> tuple[int, str]:
    """The first number with its unit in nanoseconds, and what follows it."""
    whole = _leading(text, "0123456789")
    rest = text[len(whole) :]
    fraction = ""
    if rest[:1] == ".":
        fraction = _leading(rest[1:], "0123456789")
        rest = rest[1 + len(fraction) :]
    unit = ""
    while len(unit) < len(rest) and rest[len(unit)] not in ".0123456789":
        unit = rest[: len(unit) + 1]
    if not (whole or fraction) or unit not in _UNITS or len(whole) > 19:
        raise ValueError(PARSE_ERROR)
    scale = _UNITS[unit]
    nanoseconds = int(whole or "0") * scale
    if fraction:
        nanoseconds += int(fraction[:18]) * scale // 10 ** len(fraction[:18])
    return nanoseconds, rest[len(unit) :]


def _leading(text: str, allowed: str) -> str:
    return text[: len(text) - len(text.lstrip(allowed))]


def duration_text(nanoseconds: int) -> str:
    """Whole seconds as time.Duration prints them: `5s`, `1m0s`, `1h0m0s`."""
    minutes, seconds = divmod(nanoseconds // grammar.SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


PARSERS: dict[str, Callable[[str], bool | int]] = {
    grammar.BOOL: boolean,
    grammar.INT: integer,
    grammar.INT64S: decimal,
    grammar.DURATION: duration,
}
