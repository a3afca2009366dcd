"""The labels of Linux security modules: AppArmor profiles and SELinux contexts.

They are written through a procfs that nobody in the container can have replaced (CVE-2019-16884, CVE-2025-52881).
Source: runc libcontainer/apparmor, opencontainers/selinux.
"""

from __future__ import annotations

import os

from hookrun.runtime.errors import failing
from hookrun.runtime.linux import procfs

_SELINUX_MOUNT = "/sys/fs/selinux/enforce"


def selinux_is_enabled() -> bool:
    """Whether this kernel has SELinux and a policy is loaded."""
    return os.path.exists(_SELINUX_MOUNT)


def apply_apparmor(profile: str) -> None:
    """Have the profile in effect from the next execve on. Raises Failure in runc's words."""
    attribute = _apparmor_attribute()
    with failing(f"apparmor failed to apply profile: write /proc/self/{attribute}"):
        _write(attribute, os.fsencode(f"exec {profile}"))


def set_selinux_exec_label(label: str) -> None:
    """Have the context in effect from the next execve on. Raises Failure."""
    with failing("can't set process label"):
        _write("attr/exec", os.fsencode(label))


def _apparmor_attribute() -> str:
    """Where AppArmor reads the profile: kernels before 5.8 have one file for all modules."""
    attribute = "attr/apparmor/exec"
    try:
        os.close(procfs.open_self(attribute, os.O_PATH | os.O_CLOEXEC))
    except FileNotFoundError:
        return "attr/exec"
    return attribute


def _write(attribute: str, value: bytes) -> None:
    descriptor = procfs.open_self(attribute, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)
