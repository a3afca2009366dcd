"""Podman's and Buildah's containers.conf.d (containers.conf(5), `engine.runtimes` and `engine.runtime`)."""

from __future__ import annotations

from pathlib import Path

from hookrun.wrapper.admin.engines.drop_in import NAME, DropIn
from hookrun.wrapper.admin.engines.engine import Change, Runtime
from hookrun.wrapper.admin.engines.toml_file import TomlFile, drop, put

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
        if default:
            # Buildah looks a bare name up in $PATH, not in engine.runtimes; both take a path.
            edits.append(self.set_default(str(launcher)))
        return self.change(*edits)

    def unregister(self, name: str, launcher: Path) -> Change:
        return self.change(drop((*self.runtimes_at, name)), self.unset_default(name, str(launcher)))

    def usage(self, name: str, launcher: Path) -> str:
        return f"podman --runtime {name} run IMAGE"


class Buildah(Podman):
    """Buildah, which takes the default of the file that it shares with Podman, or a path by `--runtime`."""

    name = "buildah"
    program = "buildah"

    def usage(self, name: str, launcher: Path) -> str:
        return f"buildah run --runtime {launcher} CONTAINER COMMAND"
