"""The log that engines read, in the two formats of logrus, which runc writes with.

Sources: logrus `text_formatter.go` and `json_formatter.go`; runc `main.go` (configLogrus, FatalWriter) and `utils.go`.
"""

from __future__ import annotations

import os
import time
from dataclasses import KW_ONLY, dataclass

from hookrun.runtime import jsonio
from hookrun.runtime.errors import Failure, quoted, reason

_STDERR = 2
_UNQUOTED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_COLOURS = {"debug": 37, "info": 36, "warning": 33, "error": 31}


@dataclass(frozen=True, slots=True)
class Log:
    """Lines of `level` and message, written to --log, or to stderr where no log was asked for."""

    descriptor: int = _STDERR
    _: KW_ONLY
    json: bool = False
    debugging: bool = False

    def fatal(self, text: str) -> None:
        """The error that ends the command: logged, and on stderr too where the log is elsewhere."""
        self.error(text)
        if self.descriptor != _STDERR:
            _write(_STDERR, text if text.endswith("\n") else f"{text}\n")

    def error(self, message: str) -> None:
        """Something failed."""
        self._line("error", message)

    def warning(self, message: str) -> None:
        """Something is not as it should be, and the command goes on."""
        self._line("warning", message)

    def info(self, message: str) -> None:
        """Something that a reader of the log wants to know."""
        self._line("info", message)

    def debug(self, message: str) -> None:
        """Written with --debug only."""
        if self.debugging:
            self._line("debug", message)

    def _line(self, level: str, message: str) -> None:
        if self.json:
            line = _json_line(level, message)
        elif os.isatty(self.descriptor):
            line = _coloured_line(level, message)
        else:
            line = _text_line(level, message)
        try:
            _write(self.descriptor, line)
        except OSError as error:
            if self.descriptor != _STDERR:
                _write(_STDERR, f"Failed to write to log, {reason(error)}\n")


def opened(path: str, form: str, *, debugging: bool) -> Log:
    """The log of --log, --log-format and --debug. Raises Failure for a format or file that can't be used."""
    if form not in ("", "text", "json"):
        raise Failure(f"invalid log-format: {form}")
    descriptor = _STDERR
    if path:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o644)
        except (OSError, ValueError) as error:
            raise Failure(f"open {path}: {reason(error) if isinstance(error, OSError) else error}") from None
    return Log(descriptor, json=form == "json", debugging=debugging)


def _write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode("utf-8", "surrogateescape"))


def _text_line(level: str, message: str) -> str:
    shown = message if _UNQUOTED.issuperset(message) else quoted(message)
    msg = f" msg={shown}" if message else ""
    return f'time="{_timestamp()}" level={level}{msg}\n'


def _coloured_line(level: str, message: str) -> str:
    message = message.removesuffix("\n")
    return f"\x1b[{_COLOURS[level]}m{level[:4].upper()}\x1b[0m[0000] {message:<44s} \n"


def _json_line(level: str, message: str) -> str:
    shown = jsonio.string(message.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return f'{{"level":"{level}","msg":{shown},"time":"{_timestamp()}"}}\n'


def _timestamp() -> str:
    """Local time as RFC 3339 writes it."""
    now = time.localtime()
    east = now.tm_gmtoff or 0
    hours, minutes = divmod(abs(east) // 60, 60)
    zone = f"{'-' if east < 0 else '+'}{hours:02d}:{minutes:02d}" if east else "Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", now) + zone
