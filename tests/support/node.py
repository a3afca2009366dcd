"""A throw-away copy of this host: its file system under an overlay, in a mount namespace of its own.

Packages can be installed there and configurations changed; with the namespace's last process all of it is gone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.runtimes import Result

_SET_UP = """set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" node "$1/root"
cd "$1/root"
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
rm -rf var/lib/hookrun var/log/hookrun etc/hookrun
rm -f var/lib/man-db/auto-update  # man-db's index takes longer than any package
echo ready
exec chroot . sleep infinity
"""


class Node(NamedTuple):
    """A copy that lives; `pid` is the process that holds its namespace."""

    pid: int

    def __call__(self, *words: str | Path, stdin: str | None = None, timeout: float = 300) -> Result:
        """Run a program in there."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--mount", "--root", "--wdns=/", *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str | Path, stdin: str | None = None) -> str:
        """What a program prints that must succeed."""
        result = self(*words, stdin=stdin)
        assert result.status == 0, f"{words}: {result.err}{result.out}"
        return result.out

    def write(self, path: str, text: str) -> None:
        """Put a file there."""
        self.check("sh", "-c", 'mkdir -p "$(dirname "$1")"; cat > "$1"', "sh", path, stdin=text)

    def copy(self, source: Path, path: str) -> None:
        """Put a file or directory of this host's there, where the overlay does not show it: below /tmp or /run."""
        tar = subprocess.run(
            ["tar", "-C", source.parent, "-c", source.name], capture_output=True, timeout=60, check=True
        )
        self.check("mkdir", "-p", path)
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--root", "tar", "-C", path, "-x"]
        subprocess.run(inside, input=tar.stdout, capture_output=True, timeout=60, check=True)


@contextmanager
def copy_of_this_host(place: Path) -> Iterator[Node]:
    """A node whose mounts are made below the empty directory `place`, which nothing of it is left in."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SET_UP, "node", str(place)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "ready\n"
            yield Node(holder.pid)
        finally:
            holder.kill()
