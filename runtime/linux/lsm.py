"""The labels of Linux security modules: AppArmor profiles and SELinux contexts.

They are written through a procfs that nobody in the container can have replaced (CVE-2019-16884, CVE-2025-52881).
Source: runc libcontainer/apparmor, opencontainers/selinux.
"""

from __future__ import annotations

import os

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import procfs

_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_MOUNT = "/sys/fs/selinux/enforce"


def apparmor_is_enabled() -> bool:
    """Whether this kernel confines by AppArmor. Asked on the host: a container may not see /sys."""
    try:
        descriptor = os.open(_APPARMOR_SWITCH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, 1) == b"Y"
    finally:
        os.close(descriptor)


def selinux_is_enabled() -> bool:
    """Whether this kernel has SELinux and a policy is loaded."""
    return os.path.exists(_SELINUX_MOUNT)


def apply_apparmor(profile: str) -> None:
    """Have the profile in effect from the next execve on. Raises Failure in runc's words."""
    attribute = _apparmor_attribute()
    try:
        _write(attribute, f"exec {profile}".encode())
    except OSError as error:
        raise Failure(f"apparmor failed to apply profile: write /proc/self/{attribute}: {reason(error)}") from None


def set_selinux_exec_label(label: str) -> None:
    """Have the context in effect from the next execve on. Raises Failure."""
    try:
        _write("attr/exec", label.encode())
    except OSError as error:
        raise Failure(f"can't set process label: {reason(error)}") from None


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
