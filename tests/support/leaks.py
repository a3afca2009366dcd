"""What a container may leave on a host, counted before and after."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Where the engines of other tests, which may still be running, mount what they like.
_ENGINES = ("/var/tmp/hrd-", "/var/tmp/hrp", "/var/tmp/hrc", "/run/docker", "/run/containerd", "/run/netns")


def mounts() -> list[str]:
    """The mount points of this mount namespace, but for those of engines."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if not point.startswith(_ENGINES)]


def cgroups(word: str) -> list[str]:
    """The cgroups in any hierarchy whose name holds the word."""
    found = []
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{directory}/{name}" for name in names if word in name]
    return found


def processes(word: str) -> list[str]:
    """The processes whose command line holds the word; zombies have none."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and int(pid) != os.getpid():
            found.append(f"{pid}: {line}")
    return found


def network_namespaces() -> int:
    """How many network namespaces have processes in them."""
    done = subprocess.run(
        ["lsns", "-n", "-t", "net", "-o", "NS"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    return len(done.stdout.split())
