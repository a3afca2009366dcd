"""Engines are told apart by the process that calls, its command line, and its parents."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hookrun.wrapper import engine


class Fake(engine.Caller):
    """A caller with a made-up command line."""

    def __init__(self, exe: str, *cmdline: str) -> None:
        self.pid = os.getpid()
        self.exe = exe
        self.cmdline = list(cmdline)


@pytest.mark.parametrize(
    ("exe", "cmdline", "name"),
    [
        ("/usr/bin/containerd-shim-runc-v2", "shim -namespace moby -id 1 -address /a", "docker"),
        ("/usr/bin/containerd-shim-runc-v2", "shim -namespace k8s.io -id 1", "kubernetes"),
        ("/usr/bin/containerd-shim-runc-v2", "shim -namespace default -id 1", "containerd"),
        ("/usr/bin/containerd-shim", "shim -namespace moby", "docker"),
        ("/usr/bin/dockerd", "dockerd", "docker"),
        ("/usr/bin/podman", "podman run x", "podman"),
        ("/usr/bin/conmon", "conmon -c x --exit-command /usr/bin/podman --exit-command-arg x", "podman"),
        ("/usr/libexec/crio/conmon", "conmon -c x --exit-dir /var/run/crio/exits", "cri-o"),
        ("/usr/bin/crio", "crio", "cri-o"),
        ("/usr/bin/buildkitd", "buildkitd", "buildkit"),
    ],
)
def test_known_engines(exe: str, cmdline: str, name: str) -> None:
    assert engine._engine(Fake(exe, *cmdline.split())) == name


def test_the_caller_of_this_process() -> None:
    found = engine.caller()
    assert found.pid == os.getppid()
    assert found.cmdline
    assert found.engine


def test_an_engine_above_a_script(tmp_path: Path) -> None:
    dockerd = tmp_path / "dockerd"
    dockerd.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    dockerd.chmod(0o755)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {os.path.dirname(os.path.realpath(sys.executable))}\n")
    source = str(Path(engine.__file__).parents[2])
    inner = (
        f'import sys; sys.path.append("{source}"); from hookrun.wrapper import engine; print(engine.caller().engine)'
    )
    script = f"{sys.executable} -c '{inner}'; true"
    outer = "import subprocess, sys; subprocess.run(['/bin/sh', '-c', sys.argv[1]], timeout=60)"
    done = subprocess.run(
        [str(dockerd), "-c", outer, script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "docker", done.stderr


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
