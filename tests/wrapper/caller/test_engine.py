"""Engines are told apart by the processes above the call: by what root runs, and by nothing that a caller can choose."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookrun.wrapper.caller import engine
from tests.support.bundles import BUSYBOX

USER = 4711
SHELL = os.path.basename(os.path.realpath("/bin/sh"))
SOURCE = Path(engine.__file__).parents[3]
ASK = (
    f'import sys; sys.path.append("{SOURCE}"); from hookrun.wrapper.caller import engine; '
    'found = engine.caller(); print(found.engine or "nobody", found.shim != 0)'
)
_GIVE_UP_ROOT = """
import os, subprocess, sys
child = subprocess.Popen(["/bin/sh", "-c", sys.argv[1]], stdin=subprocess.PIPE)
os.setresuid(int(sys.argv[2]), int(sys.argv[3]), 0)
child.communicate(os.linesep.encode())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may read."""
    directory = Path(tempfile.mkdtemp(prefix="hr-engine-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def program(place: Path, name: str) -> Path:
    """A shell whose /proc/PID/exe has this name."""
    path = place / name
    if not path.exists():
        shutil.copy(BUSYBOX, path)
        path.chmod(0o755)
    return path


def asked(executable: Path, *words: str, user: int | None = None) -> str:
    """What hookrun holds a program with these arguments for, which calls it, and whether a shim says so."""
    done = subprocess.run(
        ["sh", "-c", f"/usr/bin/python3 -IS -c '{ASK}'; true", *words],
        executable=executable,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ENGINES = [
    ("containerd-shim-runc-v2", "-namespace moby -id 1 -address /a", "docker True"),
    ("containerd-shim-runc-v2", "-namespace k8s.io -id 1", "kubernetes True"),
    ("containerd-shim-runc-v2", "-namespace default -id 1", "containerd True"),
    ("containerd-shim", "-namespace moby", "docker True"),
    ("dockerd", "", "docker False"),
    ("podman", "run x", "podman False"),
    ("conmon", "-c x --exit-command /usr/bin/podman --exit-command-arg x", "podman False"),
    ("conmon", "-c x --exit-command /opt/podman-6/bin/podman-6 --exit-command-arg x", "podman False"),
    ("conmon", "-c x --exit-dir /var/run/crio/exits", "cri-o False"),
    ("crio", "", "cri-o False"),
    ("buildkitd", "", "buildkit False"),
]


@pytest.mark.parametrize(("exe", "words", "answer"), ENGINES)
def test_known_engines(place: Path, exe: str, words: str, answer: str) -> None:
    assert asked(program(place, exe), *words.split()) == answer


@pytest.mark.parametrize(("exe", "words", "answer"), ENGINES)
def test_a_user_is_no_engine_of_the_hosts(place: Path, exe: str, words: str, answer: str) -> None:
    """Whatever a user runs, and root's own programs too, with whatever on their command line."""
    name = answer.split(maxsplit=1)[0]
    expected = name if name == "podman" else f"rootless-{name}"
    assert asked(program(place, exe), *words.split(), user=USER) == f"{expected} False"


@pytest.mark.parametrize("name", ["docker", "kubernetes", "cri-o", "rootless-docker"])
def test_a_program_that_is_named_like_an_engine(place: Path, name: str) -> None:
    assert asked(program(place, name)) == "nobody False"
    assert asked(program(place, name), user=USER) == "nobody False"


@pytest.mark.parametrize(
    ("name", "answer"), [("dockerd", "dockerd False"), ("podman", "nobody False"), ("conmon", "conmon False")]
)
def test_a_file_that_others_can_write_is_no_engine(place: Path, name: str, answer: str) -> None:
    executable = program(place, name)
    executable.chmod(0o777)
    assert asked(executable, "-namespace", "moby") == answer
    executable.chmod(0o755)
    os.chown(executable, USER, USER)
    assert asked(executable, "-namespace", "moby") == answer


@pytest.mark.parametrize(
    ("real", "effective", "answer"), [(0, 0, "docker"), (USER, USER, SHELL), (USER, 0, SHELL), (0, USER, SHELL)]
)
def test_a_users_process_above_roots_call(place: Path, real: int, effective: int, answer: str) -> None:
    """As with sudo: root calls, but for a user whose own process only looks like an engine."""
    script = f"read go; /usr/bin/python3 -IS -c '{ASK}'"
    done = subprocess.run(
        [_python(place, "dockerd"), "-c", _GIVE_UP_ROOT, script, str(real), str(effective)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [answer, "False"]


def _python(place: Path, name: str) -> Path:
    """An interpreter whose /proc/PID/exe has this name."""
    path = place / name
    path.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    path.chmod(0o755)
    (place / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n")
    return path


@pytest.mark.parametrize(("exe", "words", "answer"), ENGINES)
def test_an_engine_above_a_script(place: Path, exe: str, words: str, answer: str) -> None:
    """Docker's wrapper for runtimeArgs stays between the shim and hookrun."""
    script = place / "wrapper"
    script.write_text(f"#!/bin/sh\n/usr/bin/python3 -IS -c '{ASK}'\n")
    script.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", f"{script}; true", *words.split()],
        executable=program(place, exe),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == answer, done.stderr


def test_a_process_that_is_gone() -> None:
    gone = engine.Caller(2**22 + 5)
    assert (gone.exe, gone.cmdline, gone.engine) == ("", [], "")


def test_who_listens_at_the_shims_socket_is_above_it(tmp_path: Path) -> None:
    """A containerd shim's parent is init; the engine is whoever listens at the address on its command line."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert engine._listener(path) == 0
        listener.listen()
        assert engine._listener(path) == os.getpid()
    assert engine._listener(path) == 0
    assert engine._listener("") == 0
