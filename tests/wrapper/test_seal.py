"""The sealed interpreter, tried in a mount namespace of its own with a copy of Python as the host's binary."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hookrun.wrapper import seal

SOURCE = str(Path(seal.__file__).parents[2])
PYTHON = os.path.realpath(sys.executable)

# Says each time that it starts; once sealed, tries what an attacker would: write through a kept descriptor of
# /proc/self/exe from another program, and make the mount writable from a mount namespace of its own.
PROGRAM = f"""
import os, sys
print("start", flush=True)
sys.path.append({SOURCE!r})
from hookrun.wrapper import seal
if "UNSEALED" not in os.environ:
    seal.ensure(os.environ["SEAL"] + "/..")
print("sealed", seal.is_sealed(), os.readlink("/proc/self/exe").split(" ")[0], sys.argv[1:],
      "LD_PRELOAD" in os.environ, flush=True)
kept = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(kept, True)
os.execv("/bin/sh", ["sh", "-c", "echo harmless >>/proc/self/fd/" + str(kept) + " && echo WRITTEN; "
         "unshare -m mount -o remount,rw,bind $SEAL 2>/dev/null; echo harmless >>/proc/self/fd/" + str(kept)
         + " && echo WRITTEN; true"])
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def start(arguments: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    """A launcher of the program, through a directory prepared as SEAL, for a copy of the interpreter."""
    host = tmp_path / "host" / "bin"
    host.mkdir(parents=True)
    interpreter = host / os.path.basename(PYTHON)
    shutil.copy2(PYTHON, interpreter)
    (tmp_path / "host" / "pyvenv.cfg").write_text(f"home = {os.path.dirname(PYTHON)}\n")
    path = seal.prepare(str(tmp_path / "var"), str(interpreter))
    # the copy's library is where the real interpreter's is
    (tmp_path / "var" / "pyvenv.cfg").write_text(f"home = {os.path.dirname(PYTHON)}\n")
    program = tmp_path / "program"
    program.write_text(f"#!{path} -ISXutf8\n{PROGRAM}")
    program.chmod(0o755)
    return program


def in_namespace(script: str, launcher: Path) -> list[str]:
    directory = str(launcher.parent / "var" / "seal")
    return start(["unshare", "-m", "sh", "-c", script, str(launcher)], {"SEAL": directory, "LD_PRELOAD": ""})


@needs_root
def test_first_call_mounts_and_later_calls_start_sealed(launcher: Path) -> None:
    before = (launcher.parent / "host" / "bin" / os.path.basename(PYTHON)).read_bytes()
    lines = in_namespace('"$0" one two; "$0" three', launcher)
    path = f"{launcher.parent}/var/seal/{os.path.basename(PYTHON)}"
    assert lines == [
        "start",
        "start",
        f"sealed True {path} ['one', 'two'] False",
        "start",
        f"sealed True {path} ['three'] True",
    ]
    assert (launcher.parent / "host" / "bin" / os.path.basename(PYTHON)).read_bytes() == before


@needs_root
def test_calls_at_the_same_time_mount_once(launcher: Path) -> None:
    lines = in_namespace(
        'for i in 1 2 3 4 5 6 7 8; do "$0" & done; wait; grep -c " $SEAL " /proc/self/mountinfo', launcher
    )
    assert lines[-1] == "1"
    assert sum(line.startswith("sealed True") for line in lines) == 8


@needs_root
@pytest.mark.parametrize("spoil", ["chmod 777 $SEAL/..", "mv $SEAL $SEAL.away"])
def test_memory_where_there_is_no_trusted_directory(launcher: Path, spoil: str) -> None:
    lines = in_namespace(f"{spoil}; exec {PYTHON} -ISXutf8 $0 x", launcher)
    assert lines == ["start", "start", "sealed True /memfd:hookrun-python ['x'] False"]


@needs_root
def test_memory_without_the_right_to_mount(launcher: Path) -> None:
    lines = in_namespace(f"exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin {PYTHON} -ISXutf8 $0", launcher)
    assert lines == ["start", "start", "sealed True /memfd:hookrun-python [] False"]


@needs_root
def test_the_attack_works_on_an_unsealed_interpreter(launcher: Path) -> None:
    lines = in_namespace("export UNSEALED=1; exec $0", launcher)
    assert lines[-2:] == ["WRITTEN", "WRITTEN"]


def test_without_a_seal_the_interpreter_is_not_sealed(tmp_path: Path) -> None:
    copy = tmp_path / "python"
    shutil.copy2(PYTHON, copy)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {os.path.dirname(PYTHON)}\n")
    program = f"import sys; sys.path.append({SOURCE!r}); from hookrun.wrapper import seal; print(seal.is_sealed())"
    assert start([str(copy), "-ISXutf8", "-c", program], {}) == ["False"]
