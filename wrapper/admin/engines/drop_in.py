"""Engines that read a main file and, after it, the files of a directory beside it, of which one is hookrun's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hookrun.wrapper.admin.engines.engine import Change, Engine, default_before
from hookrun.wrapper.admin.engines.toml_file import Edit, Keys, TomlFile, at, drop, parsed, put

# Behind the files of distributions, which begin with 00 to 10, and before an administrator's last word.
NAME = "50-hookrun.conf"


class DropIn(Engine):
    """`file` is hookrun's own; the others are read to know what is in effect. A later file's value counts."""

    runtimes_at: Keys
    default_at: Keys

    def read(self) -> list[TomlFile]:
        """All files in the engine's order. Raises Failure."""
        directory = self.file.parent
        main = [directory.with_suffix("")] if directory.suffix == ".d" else []  # containers.conf.d: containers.conf
        return [TomlFile(path) for path in (*main, *sorted(directory.glob("*.conf")))]

    def default(self) -> str:
        """The default runtime in effect, "" where no file names one."""
        found = [file.get(*self.default_at) for file in self.read()]
        return next((str(default) for default in reversed(found) if default is not None), "")

    def entries(self) -> dict[str, tuple[Any, Path]]:
        """Each runtime's entry by its name, and the last file that has it."""
        found: dict[str, tuple[Any, Path]] = {}
        for file in self.read():
            for name, entry in (file.get(*self.runtimes_at) or {}).items():
                found[name] = (entry, file.path)
        return found

    def change(self, *edits: Edit) -> Change:
        """What the edits make of hookrun's own file."""
        ours = TomlFile(self.file)
        return Change(self.file, ours.found, ours.edited(*edits))

    def set_default(self, value: str) -> Edit:
        return put(self.default_at, value)

    def unset_default(self, *values: str) -> Edit:
        """Have the default of before again, in this file or those before it, if it is one of the values."""

        def default_of(text: str) -> str:
            return str(at(parsed(self.file, text), self.default_at) or "")

        before = default_before(self.file, default_of, gone=values)

        def edit(document: Any) -> None:
            if at(document, self.default_at) in values:
                back = put(self.default_at, before) if before else drop(self.default_at)
                back(document)

        return edit
