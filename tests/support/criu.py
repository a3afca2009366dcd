"""A CRIU that works on this kernel: the system's own, or else Debian's newest, unpacked beside the system's libraries.

Debian 12's CRIU 3.17 works in the virtual machine, whose kernel is of its age; it does not know the vDSO of newer
kernels. The one of Debian's next release runs by its own loader, and is kept in a cache directory under the hash of this
file.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path("/var/tmp/hookrun-criu")
SUITE = "forky"
_PATIENCE = 300
_APT = """Dir::State "{place}";
Dir::State::status "{place}/status";
Dir::Cache "{place}";
Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "{place}/none";
Dir::Etc::preferencesparts "{place}/none";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
"""
_SCRIPT = """#!/bin/sh
exec {root}/usr/lib64/{loader} --library-path {libraries} {root}/usr/sbin/criu "$@"
"""


@functools.cache
def path() -> str:
    """$PATH with the directory of that `criu` first. Raises CalledProcessError, OSError where it can't be had."""
    if shutil.which("criu") and not _problem(os.environ["PATH"]):
        return os.environ["PATH"]
    CACHE.mkdir(exist_ok=True)
    directory = CACHE / hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            work = Path(tempfile.mkdtemp(prefix="unpack-", dir=CACHE))
            try:
                _unpack(work, directory)
                work.rename(directory)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return f"{directory}/bin:{os.environ['PATH']}"


@functools.cache
def problem() -> str:
    """Why that CRIU does not work on this kernel, "" where it does."""
    return _problem(path())


def _problem(search: str) -> str:
    environment = {**os.environ, "PATH": search}
    done = subprocess.run(
        ["criu", "check"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    return done.stderr.strip() if done.returncode else ""


def _unpack(work: Path, final: Path) -> None:
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial", "none"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} {SUITE} main\n"
    )
    (apt / "conf").write_text(_APT.format(place=apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "conf"), "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", env=environment)
    _run("apt-get", "install", "--yes", "--download-only", "criu", env=environment)
    for package in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(work / "root"))
    shutil.rmtree(apt)
    (work / "bin").mkdir()
    loader = next((work / "root/usr/lib64").glob("ld-linux-*.so.*")).name
    libraries = next((work / "root/usr/lib").glob("*-linux-gnu*")).name
    script = work / "bin/criu"
    root = final / "root"
    script.write_text(_SCRIPT.format(root=root, loader=loader, libraries=f"{root}/usr/lib/{libraries}"))
    script.chmod(0o755)


def _mirror() -> str:
    """The package mirror that this machine's own apt uses."""
    done = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    return done.split()[0]


def _run(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        env=env,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]}"
    return done.stdout
