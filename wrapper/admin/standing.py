"""How hookrun stands with an engine: for `hookctl engine` and `hookctl doctor`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin.engines import daemon
from hookrun.wrapper.admin.engines.engine import Engine, Runtime
from hookrun.wrapper.admin.host import Host


@dataclass(frozen=True)
class Standing:
    """How an engine is configured. `problem` is why that can't be told, else ""."""

    engine: Engine
    runtimes: list[Runtime]
    ours: list[Runtime]
    pids: list[int]
    problem: str = ""

    @staticmethod
    def of(engine: Engine, machine: Host) -> Standing:
        pids = daemon.pids(engine) if engine.unit else []
        try:
            runtimes = engine.runtimes()
        except Failure as failure:
            return Standing(engine, [], [], pids, failure.text)
        ours = [runtime for runtime in runtimes if engine.is_ours(runtime, machine.launchers)]
        return Standing(engine, runtimes, ours, pids)

    @property
    def default(self) -> str:
        """The default runtime's name, "" where the engine's own is."""
        return next((runtime.name for runtime in self.runtimes if runtime.is_default), "")

    def values(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "engine": self.engine.name,
            "file": str(self.engine.file),
            "pids": self.pids,
            "default": self.default,
            "runtimes": [
                {
                    "name": runtime.name,
                    "path": runtime.path,
                    "file": str(runtime.file),
                    "hookrun": runtime in self.ours,
                    "problem": problem_of(runtime) if runtime in self.ours else "",
                }
                for runtime in self.runtimes
            ],
            "problem": self.problem,
        }


def names(runtimes: list[Runtime]) -> str:
    """The runtimes' names in a line."""
    return ", ".join(runtime.name for runtime in runtimes)


def problem_of(runtime: Runtime) -> str:
    """What is wrong with a registration of hookrun's, "" where nothing is."""
    if not os.access(runtime.path, os.X_OK):
        return f"{runtime.path} can't be executed"
    if runtime.has_arguments:
        return "it has runtimeArgs: Docker calls it by a shell script that leaves it orphaned when killed"
    return ""
