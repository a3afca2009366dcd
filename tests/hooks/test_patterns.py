"""Go's regular expressions on Python's engine: what they find is what Go says, or they are refused."""

from __future__ import annotations

import _sre

import pytest

from hookrun.hooks.compiler import patterns
from hookrun.hooks.errors import HookError


def finds(pattern: str, text: str) -> bool:
    return _sre.compile(*patterns.compiled(pattern)).search(text) is not None


# Each expectation is Go's regexp.MatchString.
CASES = [
    ("", "", True),
    (".*", "anything", True),
    ("sys", "/usr/lib/systemd", True),
    ("^sys", "/usr/lib/systemd", False),
    (".*/init$", "/sbin/init", True),
    (".*/init$", "/sbin/init\n", False),
    ("(?m)init$", "init\nx", True),
    (r"a\z", "a\n", False),
    (r"\Aa", "ba", False),
    (r"^com\.example\.department$", "com.example.department", True),
    (r"^com\.example\.department$", "comXexample.department", False),
    ("a|b|", "", True),
    ("(?i)ABC", "xabc", True),
    ("(?i:A)B", "aB", True),
    ("(?i:A)B", "ab", False),
    ("(?P<word>ab)+c", "ababc", True),
    ("a.c", "a\nc", False),
    ("(?s)a.c", "a\nc", True),
    ("^a{2,3}$", "aaaa", False),
    ("^a{2}$", "aa", True),
    ("a{,2}", "a{,2}", True),
    ("a{,2}", "aa", False),
    ("a{x", "a{x", True),
    ("^[[:alpha:]]+$", "abC", True),
    ("^[[:alpha:]_]+$", "ab1", False),
    ("^[]a]+$", "]a", True),
    ("^[^]a]+$", "b]", False),
    ("[[a]", "[", True),
    ("[a&&b]", "&", True),
    ("[a-]", "-", True),
    (r"\d", "٣", False),  # an Arabic digit: Go's \d is ASCII
    (r"\w", "é", False),
    (r"\s", "\v", False),
    (r"^[\s]$", "\v", False),
    (r"\S", "\v", True),
    (r"^\x41\.\-$", "A.-", True),
    (r"\bfoo\b", "a foo b", True),
    ("a+?b*?c??", "ab", True),
    ("é", "é", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_found_as_go_finds(pattern: str, text: str, expected: bool) -> None:
    assert finds(pattern, text) is expected


# What Go refuses, and what means something else, or nothing, in Python.
REFUSED = [
    "(", ")", "[a", "a**", "a*+", "a++", "a?+", "a{2}{3}", "*a", "(*a)", "a|*", "a{1001}", "(?=a)", "(?!a)", "(?<=a)", "(?#x)", "(?>a)",
    r"(a)\1", r"\Z", r"\Q.\E", r"\pL", r"\x{41}", r"\u0041", r"\8", "(?U)a", "a(?i)b", "(?-i:a)", "[[:nope:]]", "[[:^alpha:]]", r"[\S]", "[z-a]", "\\",
]  # fmt: skip


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused(pattern: str) -> None:
    with pytest.raises(HookError, match="regular expression"):
        patterns.compiled(pattern)
