"""CRI-O's crio.conf.d: a handler for each runtime (crio.conf(5), `crio.runtime.runtimes`)."""

from __future__ import annotations

from pathlib import Path

from hookrun.wrapper.admin.engines.drop_in import NAME, DropIn
from hookrun.wrapper.admin.engines.engine import Change, Runtime, option
from hookrun.wrapper.admin.engines.toml_file import drop, put

_OWN = ("crun", "runc")


class Crio(DropIn):
    """crio, which reads runtimes and the default one again on SIGHUP. A RuntimeClass names the handler."""

    name = "crio"
    program = "crio"
    default_file = Path("/etc/crio/crio.conf.d") / NAME
    unit = "crio"
    reloads = True
    runtimes_at = ("crio", "runtime", "runtimes")
    default_at = ("crio", "runtime", "default_runtime")

    def runtimes(self) -> list[Runtime]:
        default = self.default()
        return [
            Runtime(name, str(entry.get("runtime_path", "")), file, name == default)
            for name, (entry, file) in self.entries().items()
            if isinstance(entry, dict)
        ]

    def register(self, name: str, launcher: Path, default: bool) -> Change:
        entry = {**self._inherited(name), "runtime_path": str(launcher), "runtime_type": "oci"}
        edits = [put((*self.runtimes_at, name, key), value) for key, value in entry.items()]
        if default:
            edits.append(self.set_default(name))
        return self.change(*edits)

    def _inherited(self, name: str) -> dict[str, object]:
        """What the host's default runtime is configured with: conmon's path, the annotations that pods may use.

        Without it, a pod would run otherwise under hookrun than under the runtime whose place it takes. An entry
        that is there already is not touched.
        """
        entries = self.entries()
        if name in entries:
            return {}
        for own in (self.default(), *_OWN):
            if own in entries:
                return {key: value for key, value in entries[own][0].items() if key != "platform_runtime_paths"}
        return {}

    def unregister(self, name: str, launcher: Path) -> Change:
        return self.change(drop((*self.runtimes_at, name)), self.unset_default(name))

    def usage(self, name: str, launcher: Path) -> str:
        return f"a RuntimeClass with `handler: {name}`, and `runtimeClassName` in pods"

    def is_read_by(self, words: list[str]) -> bool:
        directory = option(words, "--config-dir", "-d", default=str(self.default_file.parent))
        return Path(directory) == self.file.parent
