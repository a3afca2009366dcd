"""The one exception that a command ends with, and how its words are spelled."""

from __future__ import annotations

from types import TracebackType

_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_SURROGATES = range(0xDC80, 0xDD00)


class Failure(Exception):
    """A command could not be carried out.

    `text` is one line for the person who reads the engine's error: what failed, on which path or field, and
    what to do. `status` is the exit status, 1 unless runc uses another (255 where `exec` itself fails).
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class failing:
    """Raise Failure, `what` and the kernel's reason, where a call is refused: `with failing("open x"):`.

    A class, for a generator under contextlib costs five times as much, and a create enters this a hundred times.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise Failure(f"{self._what}: {reason(error)}") from None


def reason(error: OSError) -> str:
    """The kernel's words for an error as Go, and so runc, prints them: `no such file or directory`."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def quoted(text: str) -> str:
    """strconv.Quote, Go's `%q`. Bytes that are not UTF-8, which Python holds as surrogates, become `\\xNN`."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_quoted_character, text))}"'


def _quoted_character(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    if code in _SURROGATES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
