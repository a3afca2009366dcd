"""The virtual machine's system disk: Debian 12 with cgroup v2, systemd, AppArmor and dockerd, made without mounting.

Kept in a cache directory under the hash of what it is made from, for debootstrap takes a minute or two.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

CACHE = Path("/var/tmp/hookrun-vm")
SUITE = "bookworm"
PACKAGES = (
    "apparmor",
    "busybox-static",
    "ca-certificates",
    "containerd",
    "criu",
    "crun",
    "dbus",
    "docker.io",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "libseccomp2",
    "linux-image-cloud-amd64",
    "linux-libc-dev",
    "procps",
    "python3",
    "runc",
    "strace",
    "systemd",
    "systemd-sysv",
    "uidmap",
    "util-linux",
)
# The suite's disk is mounted, its script run, its output and exit status shown on the console; then the machine ends.
UNIT = """[Unit]
Description=the tests
After=multi-user.target docker.socket
RequiresMountsFor=/suite

[Service]
Type=oneshot
ExecStart=/bin/sh -c '/bin/sh /suite/suite.sh; echo "SUITE-STATUS $?"'
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=multi-user.target
"""
FSTAB = "/dev/vda / ext4 defaults 0 0\n/dev/vdb /suite ext4 defaults 0 0\n"
DISK_SIZE = "3G"


class Disk(NamedTuple):
    """What qemu boots from."""

    image: Path
    kernel: Path
    initrd: Path


def system_disk() -> Disk:
    """The system disk, from the cache or built now. Raises CalledProcessError with debootstrap's words."""
    directory = CACHE / _recipe_hash()
    disk = Disk(directory / "disk.img", directory / "vmlinuz", directory / "initrd.img")
    if not disk.initrd.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="build-", dir=CACHE))
        try:
            _build(work)
            shutil.rmtree(work / "root")
            if not directory.exists():
                work.rename(directory)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return disk


def _recipe_hash() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _build(work: Path) -> None:
    root = work / "root"
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), *_mirror())
    _configure(root)
    run("chroot", str(root), "systemctl", "enable", "suite.service")
    run("chroot", str(root), "systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer")
    for kind in ("vmlinuz", "initrd.img"):
        source = next((root / "boot").glob(f"{kind}-*"))
        shutil.copy(source, work / kind)
    make_image(root, work / "disk.img", DISK_SIZE)


def _mirror() -> list[str]:
    """The package mirror that this machine's own apt uses."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return done.stdout.split()[:1]


def _configure(root: Path) -> None:
    (root / "etc/fstab").write_text(FSTAB)
    (root / "etc/hostname").write_text("vm\n")
    (root / "etc/systemd/system/suite.service").write_text(UNIT)
    (root / "suite").mkdir()
    run("chroot", str(root), "passwd", "-d", "root")


def make_image(source: Path, image: Path, size: str) -> None:
    """An ext4 image of a directory, without mounting anything."""
    run("mke2fs", "-q", "-t", "ext4", "-d", str(source), str(image), size)


def run(*words: str) -> None:
    """Run a program of the build; its output is shown where it fails."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1200,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        check=False,
    )
    if done.returncode:
        tail = done.stdout.decode(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(words)}: exit status {done.returncode}\n{tail}")
