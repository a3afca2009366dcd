"""The processes that watch over running containers and call the runtime for them: containerd's shims and conmon."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hookrun.wrapper.admin.engines.engine import option

_SHIM_OPTIONS = "options.json"  # in the bundle, a shim's working directory (containerd: runtime/v2 bundle.go)


def that_call(runtime: Path) -> list[int]:
    """The pids of those that call this runtime; without it they could neither stop nor remove their containers."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _runtime_of(pid) == str(runtime)]


def _runtime_of(pid: int) -> str:
    """What a process calls, "" where it is no monitor or can't be looked at."""
    try:
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        if name == "conmon":
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
            return option(words, "-r", "--runtime")
        if name.startswith("containerd-shim"):
            return str(json.loads(Path(f"/proc/{pid}/cwd", _SHIM_OPTIONS).read_bytes()).get("binary_name", ""))
    except (OSError, ValueError, AttributeError):
        pass
    return ""
