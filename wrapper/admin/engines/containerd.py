"""containerd's config.toml: a handler of its CRI plugin for each runtime (containerd-config.toml(5)).

`ctr` and nerdctl need no registration: they name the program themselves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.engines.engine import Change, Engine, Runtime, default_before, option
from hookrun.wrapper.admin.engines.toml_file import Edit, Keys, TomlFile, at, drop, parsed, put

_CRI = {
    2: ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
    3: ("plugins", "io.containerd.cri.v1.runtime", "containerd"),
}
_OLDEST = 2  # containerd 1 does not know version 3, containerd 2 reads both
_SHIM = "io.containerd.runc.v2"
_RUNC = {"runtime_type": _SHIM}
_DROP_IN = "50-hookrun.toml"


class Containerd(Engine):
    """containerd, which reads its configuration at its start alone.

    containerd 2, the one that knows version 3, merges the files that are imported, so that hookrun has a drop-in of its
    own where a directory of them is imported. In containerd 1, a file that has a section of a plugin replaces the
    sections of the files before it (`mergeConfig` in cmd/containerd/server/config): a drop-in would take everything
    else about CRI away, so the last file with such a section is the one to edit.
    """

    name = "containerd"
    program = "containerd"
    default_file = Path("/etc/containerd/config.toml")
    unit = "containerd"

    def runtimes(self) -> list[Runtime]:
        found = self._in_effect()
        default = self._default(found)
        entries = {name: (entry, file) for file in found for name, entry in self._runtimes(file).items()}
        return [
            Runtime(name, at(entry, ("options", "BinaryName")) or "", file.path, name == default)
            for name, (entry, file) in entries.items()
        ]

    def register(self, name: str, launcher: Path, default: bool) -> Change:
        file = self._place()
        section = self._section(file)
        edits: list[Edit] = [] if "version" in file.values else [put(("version",), self._version())]
        entry = (*section, "runtimes", name)
        if file.get(*section, "runtimes") is None and self._version() == _OLDEST:
            # containerd 1 has a runtime runc of its own as long as no file names any, and CRI does not load without it.
            edits.append(put((*section, "runtimes", "runc"), _RUNC))
        if file.get(*entry) is None:
            edits.append(put(entry, self._entry(launcher)))
        else:
            edits.append(put((*entry, "options", "BinaryName"), str(launcher)))
        if default:
            edits.append(put((*section, "default_runtime_name"), name))
        return Change(file.path, file.found, file.edited(*edits))

    def unregister(self, name: str, launcher: Path) -> Change:
        file = self._place()
        section = self._section(file)
        edits = [drop((*section, "runtimes", name))]
        default = (*section, "default_runtime_name")
        if file.get(*default) == name:
            left = {"runc", *(runtime.name for runtime in self.runtimes())} - {name}
            before = default_before(file.path, lambda text: at(parsed(file.path, text), default) or "", left)
            edits.append(put(default, before) if before else drop(default))
        return Change(file.path, file.found, self._without_remains(file, edits))

    def _without_remains(self, file: TomlFile, edits: list[Edit]) -> str | None:
        """The text after the edits, less what `register` had to write besides and nobody had before."""
        after = file.edited(*edits)
        if after is None or after in files.copies(file.path):
            return after
        runtimes = (*self._section(file), "runtimes")
        if at(parsed(file.path, after), runtimes) == {"runc": _RUNC}:
            after = file.edited(*edits, drop(runtimes))
        return None if after is None or set(parsed(file.path, after)) == {"version"} else after

    def usage(self, name: str, launcher: Path) -> str:
        return (
            f"a RuntimeClass with `handler: {name}`; `ctr run --runc-binary {launcher} IMAGE NAME` and"
            f" `nerdctl run --runtime {launcher} IMAGE` need no registration"
        )

    def is_read_by(self, words: list[str]) -> bool:
        return Path(option(words, "--config", "-c", default=str(self.default_file))) == self.file

    def _files(self) -> list[TomlFile]:
        """The main file and what it imports about plugins, in containerd's order. Raises Failure."""
        main = TomlFile(self.file)
        return [main, *(file for file in _imported(main, {self.file}) if file.get("plugins"))]

    def _version(self) -> int:
        """The main file's version; the one that every containerd reads where there is no file."""
        main = TomlFile(self.file)
        return _version(main) if main.values else _OLDEST

    def _place(self) -> TomlFile:
        """The file to edit. Raises Failure."""
        found = self._files()
        directory = _drop_in_directory(found[0])
        sections = [file for file in found if file.get(*self._section(file)[:2])]
        if sections and not (directory and self._version() > _OLDEST):
            return sections[-1]
        return TomlFile(directory / _DROP_IN) if directory else found[0]

    def _in_effect(self) -> list[TomlFile]:
        """The files whose sections of the CRI plugin count."""
        return self._files() if self._version() > _OLDEST else [self._place()]

    def _entry(self, launcher: Path) -> dict[str, Any]:
        """A handler like the default runtime's, which tells how cgroups are made (`SystemdCgroup`)."""
        found = self._in_effect()
        default = self._default(found) or "runc"
        like: dict[str, Any] = {}
        for file in found:
            like = self._runtimes(file).get(default, like)
        options = {**(like.get("options") or {}), "BinaryName": str(launcher)}
        return {**like, "runtime_type": _SHIM, "options": options}

    def _section(self, file: TomlFile) -> Keys:
        """Where the CRI plugin's runtimes are in a file; an empty one is going to be of the main file's version."""
        return _CRI[_version(file) if file.values else self._version()]

    def _runtimes(self, file: TomlFile) -> dict[str, Any]:
        return file.get(*self._section(file), "runtimes") or {}

    def _default(self, found: list[TomlFile]) -> str:
        """The default runtime of files of which the last counts, "" where none names one."""
        names = [file.get(*self._section(file), "default_runtime_name") for file in reversed(found)]
        return next((name for name in names if name), "")


def _version(file: TomlFile) -> int:
    """The format's version; a file without one has the first (containerd-config.toml(5)). Raises Failure."""
    version = file.get("version") or 1
    if version not in _CRI:
        raise Failure(
            f"{file.path}: version {version} is not among {', '.join(map(str, _CRI))}:"
            " have `containerd config migrate` write a newer one; nothing was changed"
        )
    return int(version)


def _imported(file: TomlFile, seen: set[Path]) -> list[TomlFile]:
    """The files that a file imports, in containerd's order, each followed by those that it imports itself."""
    found = []
    for pattern in _imports(file):
        for path in sorted(pattern.parent.glob(pattern.name)):
            if path not in seen:
                seen.add(path)
                other = TomlFile(path)
                found += [other, *_imported(other, seen)]
    return found


def _imports(file: TomlFile) -> list[Path]:
    """The patterns; relative ones are below the file's directory."""
    return [Path(os.path.normpath(file.path.parent / pattern)) for pattern in file.get("imports") or ()]


def _drop_in_directory(main: TomlFile) -> Path | None:
    """The directory of which all TOML files are imported."""
    return next((pattern.parent for pattern in _imports(main) if pattern.name == "*.toml"), None)
