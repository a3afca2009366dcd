"""Podman's and Buildah's containers.conf.d (containers.conf(5), `engine.runtimes` and `engine.runtime`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hookrun.wrapper.admin.engines.drop_in import NAME, DropIn
from hookrun.wrapper.admin.engines.engine import Change, Runtime
from hookrun.wrapper.admin.engines.toml_file import Edit, TomlFile, at, drop, put

_SPEAKING_JSON = ("engine", "runtime_supports_json")
_OWN_SPEAKING_JSON = ["crun", "runc", "kata", "runsc", "youki", "krun"]  # containers.conf(5): the default
_VENDOR = Path("/usr/share/containers/containers.conf")


class Podman(DropIn):
    """Podman reads its configuration at each call. What is registered here is Buildah's too: both read the one file."""

    name = "podman"
    program = "podman"
    default_file = Path("/etc/containers/containers.conf.d") / NAME
    runtimes_at = ("engine", "runtimes")
    default_at = ("engine", "runtime")

    def read(self) -> list[TomlFile]:
        return [TomlFile(_VENDOR), *super().read()]

    def runtimes(self) -> list[Runtime]:
        default = self.default()
        found = []
        for name, (paths, file) in self.entries().items():
            path = str(paths[0]) if isinstance(paths, list) and paths else ""
            found.append(Runtime(name, path, file, default in (name, path)))
        return found

    def register(self, name: str, launcher: Path, default: bool) -> Change:
        edits = [put((*self.runtimes_at, name), [str(launcher)])]
        speaking = self._speaking(self.read())
        if name not in speaking:
            edits.append(put(_SPEAKING_JSON, [*speaking, name]))
        if default:
            # Buildah looks a bare name up in $PATH, not in engine.runtimes; both take a path.
            edits.append(self.set_default(str(launcher)))
        return self.change(*edits)

    def unregister(self, name: str, launcher: Path) -> Change:
        return self.change(
            drop((*self.runtimes_at, name)), self.unset_default(name, str(launcher)), self._unset_speaking(name)
        )

    def _speaking(self, files: list[TomlFile]) -> list[str]:
        """The runtimes that Podman asks for errors in JSON, which it can read; others' it shows as they come."""
        lists = [file.get(*_SPEAKING_JSON) for file in files]
        return next((names for names in reversed(lists) if isinstance(names, list)), _OWN_SPEAKING_JSON)

    def _unset_speaking(self, name: str) -> Edit:
        """Take the name from hookrun's own list, and the list away if it says what holds without it."""
        others = self._speaking([file for file in self.read() if file.path != self.file])

        def edit(document: Any) -> None:
            names = at(document, _SPEAKING_JSON)
            if isinstance(names, list) and name in names:
                left = [other for other in names if other != name]
                change = put(_SPEAKING_JSON, left) if left != others else drop(_SPEAKING_JSON)
                change(document)

        return edit

    def usage(self, name: str, launcher: Path) -> str:
        return f"podman --runtime {name} run IMAGE"


class Buildah(Podman):
    """Buildah, which takes the default of the file that it shares with Podman, or a path by `--runtime`."""

    name = "buildah"
    program = "buildah"

    def usage(self, name: str, launcher: Path) -> str:
        return f"buildah run --runtime {launcher} CONTAINER COMMAND"
