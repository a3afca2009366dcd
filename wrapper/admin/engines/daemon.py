"""Having a running engine take up a changed configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin.engines.engine import Change, Engine

_PATIENCE = 120  # seconds for systemctl: a restart waits for the daemon's start
_RELOAD_PATIENCE = 30
SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)


def pids(engine: Engine) -> list[int]:
    """The engine's daemons that read `engine.file`."""
    return list(_daemons(engine))


def _daemons(engine: Engine) -> dict[int, list[str]]:
    """The daemons' command lines by their pids; a daemon in a container, which has another root, is none of them."""
    found = {}
    parents = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
            if _runs(pid, engine.program) and engine.is_read_by(words):
                parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                found[pid] = words
        except OSError:  # it ended, or is another user's
            continue
    # A child that is about to become another program looks like its parent.
    return {pid: words for pid, words in found.items() if parents[pid] not in found}


def _runs(pid: int, program: str) -> bool:
    has_same_root = os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))
    return has_same_root and os.path.basename(os.readlink(f"/proc/{pid}/exe")) == program


def advice(engine: Engine) -> str:
    """What has to be done for a change to be in effect, "" where the engine reads its configuration at each call."""
    if not engine.unit:
        return ""
    if engine.reloads:
        return f"Have {engine.program} read it: --reload, `systemctl reload {engine.unit}`, or SIGHUP to its process."
    return f"Restart {engine.program}: --reload, or `systemctl restart {engine.unit}`. Its containers go on running."


def take_up(engine: Engine, change: Change) -> str:
    """Have the daemon reload or restart and wait until it goes by the change; returns what was done.

    Raises Failure where that can't be.
    """
    if not engine.unit:
        return f"{engine.name} reads it at each call"
    is_service = SYSTEMD.is_dir() and engine.file == engine.default_file
    done = _by_systemctl(engine) if is_service else _by_signal(engine)
    if engine.reloads:
        for words in _daemons(engine).values():
            _wait_for(engine, change, words)
    return done


def _by_signal(engine: Engine) -> str:
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


def _wait_for(engine: Engine, change: Change, words: list[str]) -> None:
    deadline = time.monotonic() + _RELOAD_PATIENCE
    while not engine.has_read(change, words):
        if time.monotonic() > deadline:
            raise Failure(f"{engine.program} ignores {change.path}: see its log")
        time.sleep(0.05)


def _by_systemctl(engine: Engine) -> str:
    return systemctl("reload" if engine.reloads else "restart", engine.unit)


def systemctl(*arguments: str) -> str:
    """Run systemctl(1); returns what was done. Raises Failure."""
    words = ["systemctl", *arguments]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except OSError as error:
        raise Failure(f"{' '.join(words)}: {reason(error)}") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(words)}: no answer within {_PATIENCE} seconds") from None
    if done.returncode:
        raise Failure(f"{' '.join(words)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return f"{' '.join(words)}: done"


def _hang_up(pid: int, engine: Engine) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise Failure(f"cannot signal {engine.program} (process {pid}): {reason(error)}") from None
