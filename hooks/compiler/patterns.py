"""Go's regular expressions (RE2) as Python's: compiled once by `hookctl apply`, what differs in meaning refused.

Sources: Go's regexp/syntax documentation; Python's re documentation. oci-hooks(5) speaks of POSIX extended expressions,
but Podman and CRI-O hand them to Go's regexp.
"""

from __future__ import annotations

import re
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

from hookrun.hooks.errors import HookError

_SPACE = r"\t\n\f\r "
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_REPEAT = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")
_GROUP = re.compile(r"\(\?(?:P<[A-Za-z_]\w*>|[ims]*:)")
_FLAGS = re.compile(r"\(\?([ims]+)\)")
_HIGHEST_REPEAT = 1000


def compiled(pattern: str) -> tuple[Any, ...]:
    """What `_sre.compile` takes for a pattern of Go's. Raises HookError for what is wrong or has no equal in Python."""
    try:
        text = _Translation(pattern).text
        tree = _parser.parse(text, re.ASCII)
        code = [int(word) for word in _compiler._code(tree, tree.state.flags)]
    except (re.error, OverflowError, RecursionError) as error:
        raise HookError(f"regular expression {pattern!r}: {error}") from None
    groups = [""] * tree.state.groups
    for name, number in tree.state.groupdict.items():
        groups[number] = name
    names = tuple(name or None for name in groups)
    return pattern, int(tree.state.flags), code, tree.state.groups - 1, dict(tree.state.groupdict), names


class _Translation:
    """One pattern, from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._multiline = False
        self.text = self._leading_flags()
        while self._position < len(pattern):
            self.text += self._element()
            self.text += self._repetition()

    def _fail(self, what: str) -> HookError:
        return HookError(f"regular expression {self._pattern!r}: {what} at character {self._position + 1}")

    def _rest(self) -> str:
        return self._pattern[self._position :]

    def _leading_flags(self) -> str:
        flags = _FLAGS.match(self._pattern)
        if flags is None:
            return ""
        self._position = flags.end()
        self._multiline = "m" in flags[1]
        return flags[0]

    def _element(self) -> str:
        character = self._pattern[self._position]
        if character == "\\":
            return self._escape(in_class=False)
        if character == "[":
            return self._class()
        if character == "(" and self._rest().startswith("(?"):
            group = _GROUP.match(self._pattern, self._position)
            if group is None or ("m" in group[0].partition("P<")[0] and not self._multiline):
                raise self._fail("a group that Go and Python do not share")
            self._position = group.end()
            return group[0]
        self._position += 1
        if character == "$":
            # Python's `$` also matches before a newline at the end; Go's does not.
            return "$" if self._multiline else r"\Z"
        return r"\{" if character == "{" else character

    def _repetition(self) -> str:
        found = _REPEAT.match(self._pattern, self._position)
        if found is None or self.text.endswith(("(", "|")) or not self.text:
            return ""
        self._position = found.end()
        if any(int(number) > _HIGHEST_REPEAT for number in re.findall(r"\d+", found[0])):
            raise self._fail(f"a repetition of more than {_HIGHEST_REPEAT}")
        text = found[0]
        if self._rest().startswith("?"):
            text += "?"
            self._position += 1
        if _REPEAT.match(self._pattern, self._position):
            raise self._fail("a repetition of a repetition")
        return text

    def _escape(self, in_class: bool) -> str:
        letter = self._pattern[self._position + 1 : self._position + 2]
        plain = {"d": r"\d", "D": r"\D", "w": r"\w", "W": r"\W", **{name: f"\\{name}" for name in "afnrtv"}}
        if not in_class:
            plain |= {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"\B", "S": f"[^{_SPACE}]"}
        if letter == "s":
            found = _SPACE if in_class else f"[{_SPACE}]"
        elif letter == "x" and re.match(r"[0-9A-Fa-f]{2}", self._pattern[self._position + 2 :]):
            found = self._pattern[self._position : self._position + 4]
        elif letter in plain:
            found = plain[letter]
        elif letter and letter.isascii() and not letter.isalnum():
            found = f"\\{letter}"
        else:
            raise self._fail("an escape that Go and Python do not share")
        self._position += len(found) if letter == "x" else 2
        return found

    def _class(self) -> str:
        text = "["
        self._position += 1
        if self._rest().startswith("^"):
            text += "^"
            self._position += 1
        is_first = True
        while not self._rest().startswith("]") or is_first:
            if not self._rest():
                raise self._fail("a missing ]")
            is_first = False
            text += self._in_class()
        self._position += 1
        return text + "]"

    def _in_class(self) -> str:
        posix = re.match(r"\[:(\^?)(\w+):\]", self._rest())
        if posix is not None:
            if posix[1] or posix[2] not in _POSIX:
                raise self._fail("a class that Go and Python do not share")
            self._position += posix.end()
            return _POSIX[posix[2]]
        character = self._pattern[self._position]
        if character == "\\":
            return self._escape(in_class=True)
        self._position += 1
        return f"\\{character}" if character in "[&|~]" else character
