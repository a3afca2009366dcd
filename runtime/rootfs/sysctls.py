"""Setting linux.sysctl; which of them a container may set, `config` has checked.

Source: config-linux.md "Sysctl", sysctl.d(5); runc: internal/sys.
"""

from __future__ import annotations

import os

from hookrun.runtime.errors import Failure, failing, reason
from hookrun.runtime.linux import procfs

_SWAPPED = {ord("."): "/", ord("/"): "."}


def _path_of(name: str) -> str:
    """Where a sysctl lies below /proc/sys: `net.ipv4.conf.eth0/1.mtu` and `net/ipv4/conf/eth0.1/mtu` are the latter.

    Raises Failure for a name whose path would lead elsewhere.
    """
    first = next((letter for letter in name if letter in "./"), ".")
    path = name if first == "/" else name.translate(_SWAPPED)
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise Failure(f"open sysctl {name} file: not the name of a sysctl")
    return path


def write(sysctls: dict[str, str]) -> None:
    """Set the sysctls of the calling process's namespaces, through a procfs that nobody can have replaced.

    Raises Failure.
    """
    if not sysctls:
        return
    with failing("can't open a procfs for sysctls"):
        proc = procfs.open_procfs()
    try:
        for name, value in sysctls.items():
            _write(proc, name, value)
    finally:
        proc.close()


def _write(proc: procfs.Procfs, name: str, value: str) -> None:
    path = _path_of(name)
    with failing(f"open /proc/sys/{path}"):
        descriptor = proc.open(f"sys/{path}", os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, value.encode())
    except OSError as error:
        raise Failure(f"write /proc/sys/{path}: {reason(error)}") from None
    finally:
        os.close(descriptor)
