"""Bundles that other tools make run unchanged: umoci's, and what docker exports with `hookrun spec`."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
from pathlib import Path

from tests.engines.conftest import IMAGE
from tests.support.docker import Docker
from tests.support.runtimes import Runtime, fresh_id


def call(*words: str | Path) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}"


def typed(runtime: Runtime, bundle: Path, words: str) -> tuple[int, str]:
    """`run` the bundle as it is, from a terminal, and type into its shell; its exit status and what was shown."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [runtime.program, *runtime.globals, "run", "--bundle", str(bundle), fresh_id("foreign")],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    os.write(master, words.encode())
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:
        pass  # EIO: the last of the terminal's users has gone.
    os.close(master)
    return process.wait(60), shown.decode(errors="replace")


def test_an_image_unpacked_by_umoci(docker: Docker, either: Runtime, tmp_path: Path) -> None:
    archive, layout, bundle = tmp_path / "image.tar", tmp_path / "oci", tmp_path / "bundle"
    docker.check("save", "--output", str(archive), IMAGE)
    call("skopeo", "--insecure-policy", "copy", f"docker-archive:{archive}", f"oci:{layout}:latest")
    call("umoci", "unpack", "--image", f"{layout}:latest", bundle)
    status, shown = typed(either, bundle, "echo un''packed; echo user $(id -u); exit 7\n")
    assert status == 7, shown
    assert "unpacked" in shown
    assert "user 0" in shown


def test_a_root_that_docker_exports(docker: Docker, hookrun: Runtime, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    container = docker.check("create", "--network", "none", IMAGE, "true")
    try:
        docker.check("export", "--output", str(tmp_path / "export.tar"), container)
    finally:
        docker.check("rm", container)
    call("tar", "-C", rootfs, "-xf", tmp_path / "export.tar")
    assert hookrun.call("spec", "--bundle", str(tmp_path)).status == 0
    status, shown = typed(hookrun, tmp_path, "echo ex''ported; touch /x; exit $?\n")
    assert status == 1, shown
    assert "exported" in shown
    assert "Read-only file system" in shown
