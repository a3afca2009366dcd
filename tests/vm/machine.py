"""Booting the virtual machine with a copy of this checkout, and reading what its suite says on the console."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.runtimes import CHECKOUT
from tests.vm import build

QEMU = "qemu-system-x86_64"
MEMORY = "3072"
BOOT_SECONDS = 300
# What tests/runtime/test_features.py reads beside the checkout.
SCHEMAS = CHECKOUT.parent / "shared/data/runtime-spec-schema"
# The emulator's TSC is the host's, and the same for both processors, which the kernel can't know; the HPET, which it
# takes instead, costs a way out of the emulation for every look at the clock.
KERNEL = (
    "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=false mitigations=off "
    "tsc=reliable clocksource=tsc no_timer_check"
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")

# The virtual environment's links lead to the checkout's own path, so it has to have that path in there too. hookrun is
# called by a launcher as engines have it, sealed by its first call: unsealed, every call would make a copy of the
# interpreter in memory, and the emulator would translate it again from the beginning, for two seconds.
PREAMBLE = """set -u
mkdir -p {parent}
test -e {checkout} || ln -s /suite/checkout {checkout}
cd {checkout}
export LC_ALL=C.UTF-8 HOME=/root
.venv/bin/python -c '
from pathlib import Path
from hookrun.wrapper.admin import launcher
launcher.install(Path(".venv/state").resolve(), "hookrun")'
ln -sf ../state/launchers/hookrun .venv/bin/hookrun
.venv/bin/hookrun exec none true 2> /dev/null
"""


class Outcome(NamedTuple):
    """How a suite ended in there: its exit status, None where the machine never said; the whole console."""

    status: int | None
    console: str


def run(script: str, seconds: int, files: Path | None = None, kernel: str = "") -> Outcome:
    """Boot a machine, run a shell script in the checkout, end the machine.

    `files` is a directory for /suite/files; `kernel` are more words for the kernel's command line. A script that reboots the machine (`systemctl reboot --force`) is started again by the next boot.
    """
    disk = build.system_disk()
    with _suite_image(script, files) as suite:
        console = _boot(disk, suite, seconds, kernel)
    found = re.search(r"SUITE-STATUS (\d+)", console)
    return Outcome(int(found.group(1)) if found else None, console)


@contextmanager
def _suite_image(script: str, files: Path | None) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hr-suite-", dir="/var/tmp"))
    try:
        tree = directory / "tree"
        copy = tree / "checkout"
        copy.mkdir(parents=True)
        for name in ("wrapper", "hooks", "policies", "runtime", "tests", "packaging", "pyproject.toml", ".venv"):
            build.run("cp", "-a", str(CHECKOUT / name), str(copy))
        if SCHEMAS.is_dir():
            shutil.copytree(SCHEMAS, tree / SCHEMAS.relative_to(CHECKOUT.parent))
        if files is not None:
            shutil.copytree(files, tree / "files")
        parameters = {"parent": CHECKOUT.parent, "checkout": CHECKOUT}
        (tree / "suite.sh").write_text(PREAMBLE.format(**parameters) + script)
        image = directory / "suite.img"
        build.make_image(tree, image, "1G")
        shutil.rmtree(tree)
        yield image
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _hurry(pid: int) -> None:
    """The tests beside the machine wait for each other, those in there for an emulated processor: it goes first."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -10)
    except PermissionError:
        return


def _boot(disk: build.Disk, suite: Path, seconds: int, kernel: str) -> str:
    """The console's text. The system disk stays as it is: what is written goes to a temporary file."""
    words = [
        QEMU,
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(min(2, os.cpu_count() or 1))),
        *("-m", MEMORY, "-nographic", "-nic", "none"),
        *("-kernel", str(disk.kernel), "-initrd", str(disk.initrd)),
        *("-append", f"{KERNEL} {kernel}"),
        *("-drive", f"file={disk.image},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={suite},format=raw,if=virtio,cache=unsafe"),
    ]
    with tempfile.TemporaryFile() as console:
        machine = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        _hurry(machine.pid)
        try:
            machine.wait(BOOT_SECONDS + seconds)
        except subprocess.TimeoutExpired:
            machine.kill()
            machine.wait(60)
        console.seek(0)
        return _CONTROL.sub("", console.read().decode(errors="replace"))
