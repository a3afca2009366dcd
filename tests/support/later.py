"""Packages of Debian's later releases, unpacked beside the system's own.

Kept in a cache directory under the release's name, that of the first package, and the hash of this file and of what was
asked for.
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

CACHE = Path("/var/tmp/hookrun-later")
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


@functools.cache
def unpacked(*packages: str, suite: str = "forky", alone: bool = False) -> Path:
    """The root of the packages' files, with those of what they need unless they come `alone`.

    Raises AssertionError with apt's words, OSError where it can't be had.
    """
    CACHE.mkdir(exist_ok=True)
    digest = hashlib.sha256(Path(__file__).read_bytes() + repr((packages, alone)).encode()).hexdigest()
    directory = CACHE / f"{suite}-{packages[0]}-{digest[:16]}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            work = Path(tempfile.mkdtemp(prefix="unpack-", dir=CACHE))
            try:
                _unpack(packages, suite, alone, work)
                (work / "root").rename(directory)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return directory


def _unpack(packages: tuple[str, ...], suite: str, alone: bool, work: Path) -> None:
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial", "none"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} {suite} main\n"
    )
    (apt / "conf").write_text(_APT.format(place=apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "conf"), "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", env=environment)
    how = ["download"] if alone else ["install", "--yes", "--download-only"]
    _run("apt-get", *how, *packages, env=environment, cwd=apt / "archives")
    for archive in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(archive), str(work / "root"))


def _mirror() -> str:
    """The package mirror that this machine's own apt uses."""
    done = _run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    return done.split()[0]


def _run(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        env=env,
        cwd=cwd,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]}"
    return done.stdout
