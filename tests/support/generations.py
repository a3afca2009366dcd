"""Where an engine's programs run: on this host, or among those of a later Debian, which nothing is installed of.

A machine is a mount and a network namespace whose root is a release's packages; what is written there is gone with it.
The host's /proc, /sys, /dev, /tmp, /var/tmp and the checkout are in it under their own names, and so are its processes:
a pid is a pid. hookctl, under its own name too, runs with that Debian's Python and libraries.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.support import later
from tests.support.runtimes import CHECKOUT, HOOKCTL, PATIENCE, wait_for

LATER = {"trixie": "13", "forky": "14"}
RELEASES = {"bookworm": "12", **LATER}

_PACKAGES = (
    *("docker.io", "docker-cli", "docker-buildx", "containerd", "podman", "buildah", "runc", "crun", "conmon", "criu"),
    *("base-files", "base-passwd", "bash", "busybox-static", "coreutils", "dash", "findutils", "grep", "gzip"),
    *("iproute2", "iptables", "mount", "procps", "sed", "strace", "tar", "tini", "util-linux"),
    # What hookctl needs, and its tests.
    *("python3", "python3-jsonpatch", "python3-jsonschema", "python3-loguru", "python3-protobuf", "python3-rich"),
    *("python3-ruamel.yaml", "python3-tomlkit", "python3-typer", "python3-pytest", "python3-pytest-mock"),
    *("python3-pytest-xdist", "python3-hypothesis", "python3-prometheus-client"),
)
_SHARED = ("/tmp", "/var/tmp", str(CHECKOUT))

# The checkout's own, as it is there; what that Python compiles stays in the machine.
_HOOKCTL = f"""#!/usr/bin/python3
import sys

sys.dont_write_bytecode, sys.pycache_prefix = False, "/var/cache/python"
sys.path.insert(0, "{CHECKOUT}/.venv/src")
from hookrun.wrapper.admin.app import main

sys.exit(main())
"""

# What the packages' scripts would have done follows their files. The machine stands as long as somebody may write to it.
_INIT = """
packages=$1; scratch=$2; hookctl=$3; text=$4; shift 4
mount -t tmpfs -o mode=755 tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=$packages,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$scratch/root"
cd "$scratch/root"
for kernels in proc sys dev; do mount --rbind "/$kernels" "$kernels"; done
for shared in "$@"; do mkdir -p ".$shared"; mount --bind "$shared" ".$shared"; done
mount -t tmpfs -o mode=755 tmpfs run
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
for version in iptables ip6tables; do
    for name in "$version" "$version-save" "$version-restore"; do ln -s xtables-nft-multi "usr/sbin/$name"; done
done
echo 127.0.0.1 localhost > etc/hosts
: > etc/resolv.conf
printf %s "$text" > usr/bin/hookctl
chmod 755 usr/bin/hookctl
mount --bind usr/bin/hookctl ".$hookctl"
ip link set lo up
mkdir old
pivot_root . old
umount -l /old
echo up
exec cat
"""


class Machine:
    """A host for engines. `release` is Debian's name of it, `namespaces` the pid of who holds it, None for this host."""

    def __init__(self, release: str, namespaces: int | None = None) -> None:
        self.release = release
        self._holder = namespaces

    def command(self, *words: str | Path) -> list[str]:
        """The words of a command that runs there. Its working directory is `/`."""
        there = ["nsenter", "--target", str(self._holder), "--mount", "--net", "--"] if self._holder else []
        return [*there, *map(str, words)]

    @contextmanager
    def network(self) -> Iterator[None]:
        """What this thread opens meanwhile, servers and connections, is of the machine's network."""
        if self._holder is None:
            yield
            return
        with open("/proc/thread-self/ns/net") as before, open(f"/proc/{self._holder}/ns/net") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def unmount_below(self, directory: Path) -> None:
        """Take away what an engine has left mounted there."""
        table = Path(f"/proc/{self._holder or 'self'}/mountinfo").read_text()
        mounts = [line.split()[4] for line in table.splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
            words = self.command("umount", "-l", mount)
            subprocess.run(words, stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


HERE = Machine("bookworm")


@contextmanager
def running(release: str) -> Iterator[Machine]:
    """A machine of that release, and at the end nothing of it. Raises AssertionError, OSError where it can't be had."""
    if release == HERE.release:
        yield HERE
        return
    packages = later.unpacked(*_PACKAGES, suite=release)
    with tempfile.TemporaryDirectory(prefix="hr-gen-", dir="/run") as scratch:
        words = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-euc", _INIT, "sh"]
        holder = subprocess.Popen(
            [*words, str(packages), scratch, str(HOOKCTL), _HOOKCTL, *_SHARED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdin and holder.stdout
        try:
            assert holder.stdout.readline() == b"up\n", f"the machine of {release} did not start"
            yield Machine(release, holder.pid)
        finally:
            _end_all_of(Path(f"/proc/{holder.pid}/ns/mnt"))
            holder.stdin.close()
            holder.stdout.close()
            holder.wait(PATIENCE)


def _end_all_of(namespace: Path) -> None:
    """Kill, one by one, who is still in a mount namespace, but for the one that is looked at."""
    if not namespace.exists():
        return
    holder = int(namespace.parts[2])
    for pid in _inhabitants(os.readlink(namespace)) - {holder}:
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(_is_gone, pid), f"{pid} to end")


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or _is_dead(pid)


def _inhabitants(namespace: str) -> set[int]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == namespace:
                found.add(int(pid))
        except OSError:
            continue
    return found


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
