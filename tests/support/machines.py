"""Machines on a network of a test's own: each has namespaces of network, mounts and host name that nobody else is in.

Nothing of them has a name outside. What holds a machine's namespaces is a process that ends with the test, however that
ends, and with its last process all of a machine is gone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.runtimes import PATIENCE, Result

# For documentation (RFC 5737): no real network has it.
_NETWORK = "192.0.2"
# The machine-id is hidden, for all of one kernel's machines would have the same.
_SET_UP = """set -e
hostname "$0"
for file in /etc/machine-id /var/lib/dbus/machine-id; do test ! -s $file || mount --bind /dev/null $file; done
ip link set lo up
echo ready
exec cat
"""


@dataclass(frozen=True)
class Machine:
    """A machine that lives; `pid` is the process that holds its namespaces."""

    name: str
    address: str
    pid: int

    @property
    def enter(self) -> list[str]:
        """What stands before a program that is to run there, as the same process; its working directory is /."""
        return ["nsenter", "--target", str(self.pid), "--net", "--uts", "--mount", "--"]

    def __call__(self, *words: Any, timeout: float = PATIENCE) -> Result:
        """Run a program there to its end."""
        done = subprocess.run(
            [*self.enter, *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, *words: Any) -> str:
        """What a program prints that must succeed."""
        result = self(*words)
        assert result.status == 0, f"{words}: {result.err}{result.out}"
        return result.out


@contextmanager
def network(names: list[str]) -> Iterator[list[Machine]]:
    """Machines that reach each other, all through a bridge of the first one."""
    with ExitStack() as stack:
        addresses = [f"{_NETWORK}.{number}" for number in range(1, len(names) + 1)]
        found = [stack.enter_context(_alone(*each)) for each in zip(names, addresses, strict=True)]
        middle, *others = found
        middle.check("ip", "link", "add", "lan", "type", "bridge")
        for number, one in enumerate(others, 1):
            peer = ("type", "veth", "peer", "name", "lan", "netns", str(one.pid))
            middle.check("ip", "link", "add", f"port{number}", "master", "lan", *peer)
            middle.check("ip", "link", "set", f"port{number}", "up")
        for one in found:
            one.check("ip", "address", "add", f"{one.address}/24", "dev", "lan")
            one.check("ip", "link", "set", "lan", "up")
        yield found


@contextmanager
def _alone(name: str, address: str) -> Iterator[Machine]:
    """A machine that nobody reaches yet. Its holder waits for the end of what it reads from the test."""
    words = ["unshare", "--net", "--uts", "--mount", "sh", "-c", _SET_UP, name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "ready\n"
            yield Machine(name, address, holder.pid)
        finally:
            holder.stdin.close()
            holder.wait(60)
