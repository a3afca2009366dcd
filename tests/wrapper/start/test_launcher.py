"""The launcher that pip installs, in a prefix laid out as pip does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import hookrun.wrapper
from hookrun.runtime.commands import spec

PACKAGES = Path(hookrun.wrapper.__file__).parents[1]
LAUNCHER = Path(__file__).parents[3] / "packaging" / "launcher" / "hookrun"
PYTHON = Path(os.path.realpath(sys.executable))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tmp_path / "lib" / version / "site-packages" / "hookrun"
    packages.mkdir(parents=True)
    for folder in PACKAGES.iterdir():
        if folder.is_dir():
            (packages / folder.name).symlink_to(folder.resolve())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(PYTHON)
    shutil.copy2(LAUNCHER, tmp_path / "bin" / "hookrun")
    (tmp_path / "bin" / "hookrun").chmod(0o755)
    return tmp_path


# This launcher knows the host's own directories only: what it records goes to a /var/log of its own.
APART = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /var/log && exec "$0" "$@"'] if os.geteuid() == 0 else []


def run(prefix: Path, *words: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher, its output in files: a container's init keeps pipes open."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        done = subprocess.run(
            [*APART, str(prefix / "bin" / "hookrun"), *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=60,
            check=False,
            env={"PATH": os.environ["PATH"], **environment},
        )
        out.seek(0)
        err.seek(0)
        texts = [os.fsdecode(file.read()) for file in (out, err)]
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def test_it_finds_its_packages(prefix: Path) -> None:
    done = run(prefix, "--version", PYTHONPATH="/nosuch", PYTHONHOME="/nosuch")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hookrun version ")


def test_names_words_and_status_pass(prefix: Path) -> None:
    done = run(prefix, "create", b"\xff", "a b", "--", "*", LC_ALL="C")
    assert done.returncode == 1
    assert f'{prefix}/bin/hookrun: \\"create\\" requires exactly 1 argument(s)' in done.stderr
    assert run(prefix, b"no\xffsuch").returncode == 3


def test_it_works_from_the_path_and_from_its_directory(prefix: Path) -> None:
    for script in (
        "hookrun --version",
        "cd $DIRECTORY && ./hookrun --version",
        "cd $DIRECTORY && sh hookrun --version",
    ):
        done = subprocess.run(
            [*APART, "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": f"{prefix}/bin:{os.environ['PATH']}", "DIRECTORY": f"{prefix}/bin"},
        )
        assert done.stdout.startswith("hookrun version "), script + done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/bin/busybox").exists(), reason="needs root and busybox")
def test_what_waits_in_a_container_is_a_sealed_copy(prefix: Path) -> None:
    bundle = prefix / "bundle"
    (bundle / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy2("/bin/busybox", bundle / "rootfs" / "bin" / "busybox")
    config = spec.example()
    config["process"].update(terminal=False, args=["/bin/busybox", "true"])
    (bundle / "config.json").write_text(json.dumps(config))
    box = f"launcher-{os.getpid()}"
    home = {"HOME": str(prefix)}
    root = ["--root", str(prefix / "root")]
    pid_file = prefix / "pid"
    try:
        done = run(prefix, *root, "create", "--bundle", str(bundle), "--pid-file", str(pid_file), box, **home)
        assert done.returncode == 0, done.stderr
        executable = os.readlink(f"/proc/{pid_file.read_text()}/exe")
    finally:
        done = run(prefix, *root, "delete", "--force", box, **home)
    assert done.returncode == 0, done.stderr
    assert executable == "/memfd:hookrun (deleted)"
