"""Values of flags in Go's notation, beyond what runc's commands show from outside."""

from __future__ import annotations

import pytest

from hookrun.runtime.errors import quoted
from hookrun.wrapper.cli import values


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("010", 8),
        ("0o17", 15),
        ("0X1f", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("0x_1", 1),
        ("0_7", 7),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_integers(text: str, number: int) -> None:
    assert values.integer(text) == number


@pytest.mark.parametrize(
    "text", ["", "-", "+", "08", "0x", "_1", "1_", "1__0", "0_", "1e3", " 1", "1 ", "1.0", "--1", "٣"]
)
def test_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match=r"^parse error$"):
        values.integer(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
def test_integers_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"^value out of range$"):
        values.integer(text)


def test_words_of_decimal_errors() -> None:
    assert values.decimal("-12") == -12
    with pytest.raises(ValueError, match=r'^strconv.ParseInt: parsing "0x1": invalid syntax$'):
        values.decimal("0x1")
    with pytest.raises(ValueError, match=r'^strconv.ParseInt: parsing "9{30}": value out of range$'):
        values.decimal("9" * 30)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("5s", 5_000_000_000),
        ("1h15m30.918s", 4_530_918_000_000),
        ("-1.5s", -1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("3000000h", None),
        ("s", None),
        (".s", None),
        ("1", None),
        ("", None),
        ("-", None),
        ("1d", None),
    ],
)
def test_durations(text: str, nanoseconds: int | None) -> None:
    if nanoseconds is None:
        with pytest.raises(ValueError, match="parse error"):
            values.duration(text)
    else:
        assert values.duration(text) == nanoseconds


def test_durations_as_go_prints_them() -> None:
    assert values.duration_text(5_000_000_000) == "5s"
    assert values.duration_text(90_000_000_000) == "1m30s"
    assert values.duration_text(3_600_000_000_000) == "1h0m0s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a\nb\x01\x7f", '"a\\nb\\x01\\x7f"'),
        ("größe 😀", '"größe 😀"'),
        ("\udcff", '"\\xff"'),
        ("\u2028\u200b\U000e0001", '"\\u2028\\u200b\\U000e0001"'),
    ],
)
def test_quoting(text: str, shown: str) -> None:
    assert quoted(text) == shown
