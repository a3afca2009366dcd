"""Having a running engine take up a changed configuration."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin.engines.engine import Engine

_PATIENCE = 120  # seconds for systemctl: a restart waits for the daemon's start
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)


def pids(engine: Engine) -> list[int]:
    """The engine's daemons that read `engine.file`; one in a container, which has another root, is none of them."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_daemon(pid, engine)]


def _is_daemon(pid: int, engine: Engine) -> bool:
    try:
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")) != engine.program:
            return False
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
        same_root = os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))
    except OSError:  # it ended, or is another user's
        return False
    return same_root and engine.is_read_by(words)


def advice(engine: Engine) -> str:
    """What has to be done for a change to be in effect, "" where the engine reads its configuration at each call."""
    if not engine.unit:
        return ""
    if engine.reloads:
        return f"Have {engine.program} read it: --reload, `systemctl reload {engine.unit}`, or SIGHUP to its process."
    return f"Restart {engine.program}: --reload, or `systemctl restart {engine.unit}`. Its containers go on running."


def take_up(engine: Engine) -> str:
    """Have the daemon reload or restart; returns what was done. Raises Failure where that can't be."""
    if not engine.unit:
        return f"{engine.name} reads it at each call"
    if _SYSTEMD.is_dir() and engine.file == engine.default_file:
        return _by_systemctl(engine)
    found = pids(engine)
    if not found:
        return f"no {engine.program} with {engine.file} is running: it will read it at its start"
    if not engine.reloads:
        raise Failure(
            f"{engine.program} (process {found[0]}) reads {engine.file} at its start alone, and no systemd is here"
            " to restart it: restart it as it was started"
        )
    for pid in found:
        _hang_up(pid, engine)
    return f"{engine.program} (process {', '.join(map(str, found))}) was told to read it"


def _by_systemctl(engine: Engine) -> str:
    words = ["systemctl", "reload" if engine.reloads else "restart", engine.unit]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{' '.join(words)}: {error}") from None
    if done.returncode:
        raise Failure(f"{' '.join(words)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return f"{' '.join(words)}: done"


def _hang_up(pid: int, engine: Engine) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise Failure(f"cannot signal {engine.program} (process {pid}): {reason(error)}") from None
