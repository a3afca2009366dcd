"""The sealed program, tried in a mount namespace of its own with a copy of hookrun-start, and of Python, as the host's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hookrun.wrapper.start import program, seal
from tests.support import warm

SOURCE = str(Path(seal.__file__).parents[3])
PYTHON = os.path.realpath(sys.executable)

# Says each time that it starts; once sealed, tries what an attacker would: write through a kept descriptor of
# /proc/self/exe from another program, and make the mount writable from a mount namespace of its own.
MAIN = """
import posix, sys
from hookrun.wrapper.start import seal

def main(state):
    say("start")
    if b"UNSEALED" not in posix.environ:
        seal.ensure(state)
    say("sealed", seal.is_sealed(), posix.readlink("/proc/self/exe").split(" ")[0], sys.argv[1:], b"LD_PRELOAD" in posix.environ)
    kept = posix.open("/proc/self/exe", posix.O_PATH)
    posix.set_inheritable(kept, True)
    posix.execve("/bin/sh", ["sh", "-c", "echo harmless >>/proc/self/fd/" + str(kept) + " && echo WRITTEN; "
        "unshare -m mount -o remount,rw,bind $SEAL 2>/dev/null; echo harmless >>/proc/self/fd/" + str(kept)
        + " && echo WRITTEN; true"], posix.environ)

def say(*words):
    posix.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts"),
    pytest.mark.skipif(not warm.START.exists(), reason="hookrun-start was not built: see packaging/build-start.sh"),
]


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


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hookrun with that main in its entry's place."""
    return warm.with_entry(tmp_path_factory.mktemp("packages"), MAIN)


@pytest.fixture(scope="module")
def heap(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heap") / program.HEAP
    warm.fill(path, packages)
    return path


class Host:
    """A launcher of that main, whose program is a copy of hookrun-start behind a directory prepared as the seal."""

    def __init__(self, place: Path, packages: Path, heap: Path) -> None:
        self.program = place / "host" / seal.PROGRAM
        self.program.parent.mkdir()
        shutil.copy2(warm.START, self.program)
        self.state = place / "var"
        seal.prepare(str(self.state), str(self.program))
        shutil.copy2(heap, self.state / program.HEAP)
        self.sealed = f"{self.state}/seal/{seal.PROGRAM}"
        self.launcher = place / "program"
        self.launcher.write_text(
            f"#!{self.sealed} {self.state}/heap\n#!{PYTHON} -ISXutf8\n"
            f"import sys\npackage = type(sys)('hookrun')\npackage.__path__ = [{str(packages)!r}]\n"
            f"sys.modules['hookrun'] = package\nfrom hookrun.wrapper.entry import main\nmain({str(self.state)!r})\n"
        )
        self.launcher.chmod(0o755)

    def run(self, script: str) -> list[str]:
        variables = {"SEAL": f"{self.state}/seal", "LD_PRELOAD": "", "HEAP": f"{self.state}/heap"}
        return start(["unshare", "-m", "sh", "-c", script, str(self.launcher)], variables)


@pytest.fixture
def host(tmp_path: Path, packages: Path, heap: Path) -> Host:
    return Host(tmp_path, packages, heap)


def test_first_call_mounts_and_later_calls_start_sealed(host: Host) -> None:
    before = host.program.read_bytes()
    lines = host.run('"$0" one two; "$0" three')
    assert lines == [
        "start",
        "start",
        f"sealed True {host.sealed} ['one', 'two'] False",
        "start",
        f"sealed True {host.sealed} ['three'] True",
    ]
    assert host.program.read_bytes() == before


def test_nothing_but_the_program_is_mounted(host: Host) -> None:
    assert host.run('"$0" > /dev/null; ls -A "$SEAL"') == [seal.PROGRAM]


def test_calls_at_the_same_time_mount_once(host: Host) -> None:
    lines = host.run('for i in 1 2 3 4 5 6 7 8; do "$0" & done; wait; grep -c " $SEAL " /proc/self/mountinfo')
    assert lines[-1] == "1"
    assert sum(line.startswith("sealed True") for line in lines) == 8


@pytest.mark.parametrize("spoil", ["chmod 777 $SEAL/..", "mv $SEAL $SEAL.away"])
def test_memory_where_there_is_no_trusted_directory(host: Host, spoil: str) -> None:
    lines = host.run(f"{spoil}; exec {host.program} $HEAP $0 x")
    assert lines == ["start", "start", "sealed True /memfd:hookrun ['x'] False"]


def test_memory_without_the_right_to_mount(host: Host) -> None:
    lines = host.run("exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin $0")
    assert lines == ["start", "start", "sealed True /memfd:hookrun [] False"]


def test_memory_for_a_cold_start(host: Host) -> None:
    lines = host.run("rm $HEAP; $0 x; test -L $SEAL/hookrun-start && echo 'still a link'")
    assert lines == ["start", "start", "sealed True /memfd:hookrun ['x'] False", "still a link"]


def test_the_attack_works_on_an_unsealed_program(host: Host) -> None:
    assert host.run("export UNSEALED=1; exec $0")[-2:] == ["WRITTEN", "WRITTEN"]


def test_an_upgrade_takes_the_place_of_what_was_mounted(host: Host, tmp_path: Path) -> None:
    """As 0.1.0 left it: all of another directory, read-only, over the seal."""
    newer = tmp_path / "newer" / seal.PROGRAM
    newer.parent.mkdir()
    shutil.copy2(host.program, newer)
    prepare = f'{PYTHON} -ISXutf8 -c \'import sys; sys.path.append("{SOURCE}"); from hookrun.wrapper.start import seal; seal.prepare("{host.state}", "{newer}")\''
    lines = host.run(
        f"mount --bind -r /usr/bin $SEAL; {prepare}; readlink $SEAL/hookrun-start; $0 > /dev/null; ls -A $SEAL"
    )
    assert lines == [str(newer), seal.PROGRAM]


def test_without_a_seal_a_program_is_not_sealed(tmp_path: Path) -> None:
    copy = tmp_path / "python"
    shutil.copy2(PYTHON, copy)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {os.path.dirname(PYTHON)}\n")
    code = f"import sys; sys.path.append({SOURCE!r}); from hookrun.wrapper.start import seal; print(seal.is_sealed())"
    assert start([str(copy), "-ISXutf8", "-c", code], {}) == ["False"]
