"""Hands the descriptor of a listening seccomp filter to the agent that the profile names.

Sources: runtime-spec config-linux.md "Seccomp" (listenerPath), runtime.md "The Container Process State"; runc
process_linux.go (recvSeccompFd, sendContainerProcessState).
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.errors import failing
from hookrun.runtime.linux import sockets
from hookrun.runtime.linux.seccomp import Profile
from hookrun.runtime.linux.syscalls import NR, call


def hand_over(profile: Profile, pid: int, pidfd: int, number: int, state: dict[str, Any]) -> None:
    """Send the agent at the profile's `listenerPath` the descriptor that a process has under `number`.

    `pid` and `pidfd` are that process, `state` is the state object of the container that it is in. Raises Failure.
    """
    with failing(f"unable to get seccomp fd from pid {pid}"):
        descriptor = call(NR.pidfd_getfd, pidfd, number, 0)
    try:
        _send(profile.get("listenerPath") or "", _message(profile, pid, state), descriptor)
    finally:
        os.close(descriptor)


def _message(profile: Profile, pid: int, state: dict[str, Any]) -> bytes:
    message: dict[str, Any] = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
    if profile.get("listenerMetadata"):
        message["metadata"] = profile["listenerMetadata"]
    return jsonio.dumps({**message, "state": state}).encode()


def _send(path: str, message: bytes, descriptor: int) -> None:
    with failing(f"failed to connect with seccomp agent specified in the seccomp profile: dial unix {path}: connect"):
        agent = sockets.connect(path)
    try:
        with failing(f"cannot send seccomp fd to {path}"):
            sockets.send(agent, message, descriptor)
    finally:
        os.close(agent)
