"""What the name `runc` leads to, for an engine's daemons: whoever asks for no other runtime by its path gets that.

Docker refuses to have its runtime `runc` configured; its shims, and BuildKit for the steps of a build, look the name up
in $PATH. So the directory of the launchers, with one named `runc`, comes first there, by a drop-in of each unit whose
daemon looks it up itself or starts what does (systemd.unit(5), "Environment=" in systemd.exec(5)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import files
from hookrun.wrapper.admin.engines import daemon
from hookrun.wrapper.admin.engines.engine import Change, Engine

NAME = "runc"
UNIT_DIRECTORY = Path("/etc/systemd/system")

_DROP_IN = "50-hookrun.conf"
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEXT = """# `hookctl engine register {engine} --only`: the runtime named runc is hookrun, for image builds too.
[Service]
Environment=PATH={launchers}:{path}
"""


def changes(engine: Engine, directory: Path, launchers: Path) -> list[Change]:
    """The drop-ins that have the engine's daemons find hookrun as `runc`. Raises Failure."""
    if not engine.stock_units:
        raise Failure(f"--only is for docker: {engine.name} calls no runtime that its configuration does not name")
    if directory == UNIT_DIRECTORY and not daemon.SYSTEMD.is_dir():
        raise Failure(
            f"--only takes systemd, which does not run here: start {engine.program} with PATH={launchers}:{_USUAL_PATH}"
            f" after `hookctl engine register {engine.name} --only --unit-directory DIRECTORY`"
        )
    found = []
    for unit in engine.stock_units:
        place = _place(directory, unit)
        text = _TEXT.format(engine=engine.name, launchers=launchers, path=_path_of(unit, launchers))
        found.append(Change(place, files.read(place), text))
    return found


def undone(engine: Engine, directory: Path) -> list[Change]:
    """What takes the drop-ins away; nothing where there are none. Raises Failure."""
    places = [_place(directory, unit) for unit in engine.stock_units]
    return [Change(place, files.read(place), None) for place in places if place.exists()]


def tidy(change: Change) -> None:
    """Remove a drop-in's directory where it was made for it alone."""
    if not any(change.path.parent.iterdir()):
        change.path.parent.rmdir()


def _place(directory: Path, unit: str) -> Path:
    return directory / f"{unit}.service.d" / _DROP_IN


def _path_of(unit: str, launchers: Path) -> str:
    """The $PATH that a unit has without us: its own, or systemd's usual one."""
    if not daemon.SYSTEMD.is_dir():
        return _USUAL_PATH
    words = ["systemctl", "show", "--property=Environment", "--value", unit]
    shown = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    paths = [word.removeprefix("PATH=") for word in shown.stdout.split() if word.startswith("PATH=")]
    return (paths[-1] if paths else _USUAL_PATH).removeprefix(f"{launchers}:")


def advice(engine: Engine) -> str:
    """What has to be done for a drop-in to be in effect, or to be without effect."""
    return f"In effect after `systemctl daemon-reload && systemctl restart {' '.join(reversed(engine.stock_units))}`."


def restart(engine: Engine) -> str:
    """Have systemd read the drop-ins and start the daemons anew; returns what was done. Raises Failure."""
    if not daemon.SYSTEMD.is_dir():
        raise Failure(f"no systemd is here to restart {engine.program}: restart it as it was started")
    daemon.systemctl("daemon-reload")
    return daemon.systemctl("try-restart", *reversed(engine.stock_units))


def leads_to(pid: int) -> str:
    """The program that a process gets for the name, "" where there is none or it can't be told."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    path = next((os.fsdecode(entry[5:]) for entry in variables if entry.startswith(b"PATH=")), "")
    return shutil.which(NAME, path=path) or ""


def users(launchers: Path) -> list[int]:
    """The processes of engines that find hookrun as `runc`: daemons, and shims with containers of theirs."""
    return [
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if _is_engines(pid) and leads_to(pid) == str(launchers / NAME)
    ]


def _is_engines(pid: int) -> bool:
    try:
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False
    return name in ("dockerd", "containerd") or name.startswith("containerd-shim")
