"""Docker's daemon.json: runtimes by name and path, and the default one (dockerd(8))."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files

CONFIG = Path("/etc/docker/daemon.json")


class DaemonConfig:
    """daemon.json with its order and its indentation."""

    def __init__(self, path: Path) -> None:
        """Raises Failure where the file can't be read as a JSON object."""
        self.path = path
        self.before = files.read(path)
        self._indent = _indent_of(self.before)
        self._values = _parsed(path, self.before)

    def add_runtime(self, name: str, launcher: Path, default: bool) -> None:
        """Have the runtime there, and nothing else of the file changed. Raises Failure."""
        runtimes = self._values.setdefault("runtimes", {})
        if not isinstance(runtimes, dict):
            raise Failure(f"{self.path}: runtimes: it must be an object")
        known = runtimes.get(name)
        if isinstance(known, dict) and known.get("path") == str(launcher):
            known.pop("runtimeArgs", None)
        else:
            runtimes[name] = {"path": str(launcher)}
        if default:
            self._values["default-runtime"] = name

    def remove_runtime(self, name: str) -> None:
        """Take the runtime away; where it was the default, Docker's own is again."""
        runtimes = self._values.get("runtimes")
        if isinstance(runtimes, dict):
            runtimes.pop(name, None)
            if not runtimes:
                del self._values["runtimes"]
        if self._values.get("default-runtime") == name:
            del self._values["default-runtime"]

    @property
    def runtimes(self) -> dict[str, Any]:
        """Name to entry."""
        found = self._values.get("runtimes")
        return found if isinstance(found, dict) else {}

    @property
    def default(self) -> str:
        return str(self._values.get("default-runtime", ""))

    @property
    def after(self) -> str:
        """The new text; "" where nothing is left that would need a file."""
        if self._values == _parsed(self.path, self.before):
            return self.before
        if not self._values:
            return ""
        return json.dumps(self._values, indent=self._indent, ensure_ascii=False) + "\n"


def _parsed(path: Path, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _unique(path, pairs))
    except json.JSONDecodeError as error:
        raise Failure(f"{path}:{error.lineno}:{error.colno}: {error.msg}; nothing was changed") from None
    except RecursionError:
        raise Failure(f"{path}: nested too deeply; nothing was changed") from None
    if not isinstance(values, dict):
        raise Failure(f"{path}: it must hold a JSON object; nothing was changed")
    return values


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """dockerd takes the last of two equal keys; writing one back would lose the other."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Failure(f"{path}: the key {twice!r} is there twice; nothing was changed")
    return values


def _indent_of(text: str) -> int | str:
    """The file's own indentation, four spaces for a new one as Docker's documentation has it."""
    for line in text.splitlines()[1:]:
        blank = line[: len(line) - len(line.lstrip())]
        if line.strip() and blank:
            return "\t" if blank.startswith("\t") else len(blank)
    return 4
