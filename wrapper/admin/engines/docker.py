"""Docker's daemon.json: runtimes by name and path, and the default one (dockerd(8))."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.engines import docker_api
from hookrun.wrapper.admin.engines.engine import Change, Engine, Runtime, default_before, laid_out_as_before, option

_STOCK = "runc"


class Docker(Engine):
    """dockerd, which reads `runtimes` and `default-runtime` again on SIGHUP."""

    name = "docker"
    program = "dockerd"
    default_file = Path("/etc/docker/daemon.json")
    unit = "docker"
    stock_units = ("docker", "containerd")  # BuildKit is in the first, the second starts the shims
    reloads = True
    empty = "{}\n"

    def runtimes(self) -> list[Runtime]:
        values = _parsed(self.file, files.read(self.file))
        found = values.get("runtimes")
        return [
            Runtime(name, entry.get("path", ""), self.file, _default(values) == name, bool(entry.get("runtimeArgs")))
            for name, entry in (found.items() if isinstance(found, dict) else ())
            if isinstance(entry, dict)
        ]

    def register(self, name: str, launcher: Path, default: bool) -> Change:
        if name == _STOCK:
            raise Failure("the name runc is Docker's own: choose another by --name")
        text, values = self._read()
        runtimes = values.setdefault("runtimes", {})
        if not isinstance(runtimes, dict):
            raise Failure(f"{self.file}: runtimes must be an object")
        known = runtimes.get(name)
        if isinstance(known, dict) and known.get("path") == str(launcher):
            known.pop("runtimeArgs", None)
        else:
            runtimes[name] = {"path": str(launcher)}
        if default:
            values["default-runtime"] = name
        return self._change(text, values)

    def unregister(self, name: str, launcher: Path) -> Change:
        text, values = self._read()
        runtimes = values.get("runtimes")
        if isinstance(runtimes, dict):
            runtimes.pop(name, None)
            if not runtimes:
                del values["runtimes"]
        if _default(values) == name:
            left = {_STOCK, *values.get("runtimes", {})}
            before = default_before(self.file, lambda earlier: _default(_parsed(self.file, earlier)), left)
            if before:
                values["default-runtime"] = before
            else:
                del values["default-runtime"]
        return self._change(text, values)

    def usage(self, name: str, launcher: Path) -> str:
        return f"docker run --runtime {name} IMAGE"

    def interim(self, change: Change) -> Change | None:
        """dockerd keeps what a file that it reads again does not name: it must read that nothing is left of it."""
        values = _parsed(self.file, change.after)
        before = _parsed(self.file, change.before)
        full = {"default-runtime": _STOCK, "runtimes": {}, **values}
        gone = [key for key in full if key not in values and key in before]
        if not gone:
            return None
        text = json.dumps({**values, **{key: full[key] for key in gone}}, indent=4) + "\n"
        return Change(self.file, change.before, text)

    def has_read(self, change: Change, words: list[str]) -> bool:
        values = _parsed(self.file, change.after)
        known = docker_api.info(docker_api.socket_of(words, values))
        default = values.get("default-runtime", known["DefaultRuntime"])
        return {_STOCK, *values.get("runtimes", {})} <= set(known["Runtimes"]) and known["DefaultRuntime"] == default

    def is_read_by(self, words: list[str]) -> bool:
        return Path(option(words, "--config-file", default=str(self.default_file))) == self.file

    def _read(self) -> tuple[str | None, dict[str, Any]]:
        text = files.read(self.file)
        return text, _parsed(self.file, text)

    def _change(self, text: str | None, values: dict[str, Any]) -> Change:
        if values == _parsed(self.file, text):
            return Change(self.file, text, text)
        if not values:
            return Change(self.file, text, None)
        after = json.dumps(values, indent=_indent_of(text or ""), ensure_ascii=False) + "\n"
        return Change(self.file, text, laid_out_as_before(self.file, after, _content))


def _content(text: str) -> str:
    return "".join(text.split())


def _default(values: dict[str, Any]) -> str:
    return str(values.get("default-runtime", ""))


def _parsed(path: Path, text: str | None) -> dict[str, Any]:
    if not text or not text.strip():
        return {}
    try:
        values = json.loads(text, object_pairs_hook=lambda pairs: _unique(path, pairs))
    except json.JSONDecodeError as error:
        raise Failure(f"{path}:{error.lineno}:{error.colno}: {error.msg}; nothing was changed") from None
    except RecursionError:
        raise Failure(f"{path}: nested too deeply; nothing was changed") from None
    if not isinstance(values, dict):
        raise Failure(f"{path}: not a JSON object; nothing was changed")
    return values


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """dockerd takes the last of two equal keys; writing one back would lose the other."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Failure(f"{path}: duplicate key {twice!r}; nothing was changed")
    return values


def _indent_of(text: str) -> int | str:
    """The file's own indentation, four spaces for a new one as Docker's documentation has it."""
    for line in text.splitlines()[1:]:
        blank = line[: len(line) - len(line.lstrip())]
        if line.strip() and blank:
            return "\t" if blank.startswith("\t") else len(blank)
    return 4
