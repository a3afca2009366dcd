"""What registering with a container engine takes, whichever it is."""

from __future__ import annotations

import difflib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files


@dataclass(frozen=True)
class Runtime:
    """A runtime that an engine knows: what it calls, and the file that says so. `path` is "" where it calls its own."""

    name: str
    path: str
    file: Path
    is_default: bool = False
    has_arguments: bool = False


@dataclass(frozen=True)
class Change:
    """A file's text before and after; None is no file."""

    path: Path
    before: str | None
    after: str | None

    @property
    def is_none(self) -> bool:
        return self.before == self.after

    def diff(self) -> str:
        names = (str(self.path), f"{self.path} (new)")
        before, after = ((text or "").splitlines(True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, *names))

    def back_up(self) -> Path | None:
        """Keep a copy of the old text; returns its path, None where there is nothing to keep. Raises Failure."""
        return files.back_up(self.path)

    def make(self) -> None:
        """Put the new text in place. Raises Failure, also if the text there is no longer the one before."""
        if files.read(self.path) != self.before:
            raise Failure(f"{self.path}: it changed in the meantime: try again; nothing was changed")
        if self.after is None:
            files.remove(self.path)
        else:
            files.replace(self.path, self.after)


class Engine(ABC):
    """An engine's configuration on this host. `file` is what is edited."""

    name: str
    program: str
    """The daemon, or the command where there is none."""
    default_file: Path
    unit: str = ""
    """The daemon's systemd unit, "" where there is no daemon that would have to read the file again."""
    stock_units: tuple[str, ...] = ()
    """The units whose daemons call a runtime by the name `runc` alone, whatever the configuration says."""
    reloads: bool = False
    """Whether the daemon reads its configuration again on SIGHUP; else it has to be restarted."""
    empty: str = ""
    """The text of a file that says nothing."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or self.default_file

    @property
    def is_found(self) -> bool:
        """Whether this host has the engine."""
        return bool(shutil.which(self.program)) or self.file.exists()

    @abstractmethod
    def runtimes(self) -> list[Runtime]:
        """The runtimes that the engine is configured with. Raises Failure where a file can't be read."""

    @abstractmethod
    def register(self, name: str, launcher: Path, default: bool) -> Change:
        """What has the engine call `launcher` for the runtime `name`. Raises Failure."""

    @abstractmethod
    def unregister(self, name: str, launcher: Path) -> Change:
        """What takes the runtime away, and leaves the default as it was before. Raises Failure."""

    @abstractmethod
    def usage(self, name: str, launcher: Path) -> str:
        """How a container is started with the runtime."""

    def interim(self, change: Change) -> Change | None:
        """A text that a running daemon must have read before the change's own, None where it need not."""
        return None

    def has_read(self, change: Change, words: list[str]) -> bool:
        """Whether the daemon with this command line goes by a change that it was told to read."""
        return True

    def is_read_by(self, words: list[str]) -> bool:
        """Whether the daemon with this command line reads `file`."""
        return False

    def runtime(self, name: str) -> Runtime | None:
        """The runtime of this name."""
        return next((runtime for runtime in self.runtimes() if runtime.name == name), None)

    def is_ours(self, runtime: Runtime, launchers: Path) -> bool:
        """Whether a runtime is hookrun: one of the launchers in a directory, or a program of that name."""
        return os.path.dirname(runtime.path) == str(launchers) or os.path.basename(runtime.path) == "hookrun"


def default_before(
    path: Path, default_of: Callable[[str], str], left: Container[str] | None = None, gone: Container[str] = ()
) -> str:
    """The default runtime before it was one that is gone, by the copies of the file; "" if none was set.

    `default_of` gives a text's default. It has to be among those that are `left`, if these are known, and not `gone`.
    """
    for text in files.copies(path):
        try:
            default = default_of(text)
        except Failure:
            continue
        if not default or (default not in gone and (left is None or default in left)):
            return default
    return ""


def laid_out_as_before(path: Path, text: str, content: Callable[[str], object]) -> str:
    """A new text for a file; a copy's, if that has the same content in another layout. Raises Failure."""
    return next((copy for copy in files.copies(path) if content(copy) == content(text)), text)


def option(words: list[str], *names: str, default: str = "") -> str:
    """The value of an option on a daemon's command line, as `--name value` or `--name=value`."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else "".join(words[position + 1 : position + 2])
    return default
