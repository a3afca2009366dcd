"""nerdctl's `--runtime`, which is a name in $PATH or a path; nerdctl.toml has no setting for it.

Source: nerdctl's pkg/cmd/container/run_runtime.go: what `exec.LookPath` finds becomes containerd's BinaryName.
"""

from __future__ import annotations

import os
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin.engines.engine import Change, Engine, Runtime


class Link(Change):
    """A symbolic link; before and after are what it points to, None if there is none."""

    def back_up(self) -> None:
        """What a link is, the launcher's name says."""

    def make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            if self.after:
                self.path.symlink_to(self.after)
        except OSError as error:
            raise Failure(f"cannot link {self.path}: {reason(error)}") from None

    def diff(self) -> str:
        gone = f"-{self.path} -> {self.before}\n" if self.before else ""
        new = f"+{self.path} -> {self.after}\n" if self.after else ""
        return gone + new


class Nerdctl(Engine):
    """A link to the launcher in a directory of $PATH. `file` is that directory."""

    name = "nerdctl"
    program = "nerdctl"
    default_file = Path("/usr/local/bin")

    @property
    def is_found(self) -> bool:
        return any(os.path.exists(f"{directory}/{self.program}") for directory in os.get_exec_path())

    def runtimes(self) -> list[Runtime]:
        links = sorted(path for path in self.file.glob("*") if path.is_symlink())
        return [Runtime(path.name, os.readlink(path), path) for path in links if _is_launcher(os.readlink(path))]

    def register(self, name: str, launcher: Path, default: bool) -> Change:
        if default:
            raise Failure("nerdctl has no setting for a default runtime: give --runtime to each `nerdctl run`")
        path = self.file / name
        target = _target(path)
        if path.exists() and not (target and _is_launcher(target)):
            raise Failure(f"{path} is another program: choose another --name, or have nerdctl call {launcher}")
        return Link(path, target, str(launcher))

    def unregister(self, name: str, launcher: Path) -> Change:
        path = self.file / name
        before = _target(path)
        return Link(path, before, None if before == str(launcher) else before)

    def usage(self, name: str, launcher: Path) -> str:
        return f"nerdctl run --runtime {name} IMAGE"


def _target(path: Path) -> str | None:
    return os.readlink(path) if path.is_symlink() else None


def _is_launcher(target: str) -> bool:
    return os.path.basename(os.path.dirname(target)) == "launchers"
