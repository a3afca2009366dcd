"""Reading and writing cgroup files, with errors in runc's words (opencontainers/cgroups, file.go)."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from hookrun.runtime.errors import Failure, quoted, reason
from hookrun.runtime.linux.mountinfo import MountTable

UNIFIED = "/sys/fs/cgroup"
HYBRID = "/sys/fs/cgroup/unified"
UNLIMITED = (1 << 64) - 1
_COUNTED_MOST = (1 << 63) - (1 << 16)  # the kernel's PAGE_COUNTER_MAX, for pages of up to 64 KiB

DENIED = (errno.EPERM, errno.EACCES, errno.EROFS)


class FileError(Failure):
    """A cgroup file or directory could not be used; `errno` is the kernel's answer (0: no such cgroup at all)."""

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.errno = number

    @property
    def missing(self) -> bool:
        """Whether the file or its cgroup is not there."""
        return self.errno in (errno.ENOENT, errno.ENODEV)


def is_unified() -> bool:
    """Whether the host has the unified hierarchy alone; only a cgroup2 mount has this file."""
    return os.access(f"{UNIFIED}/cgroup.controllers", os.F_OK)


def is_hybrid() -> bool:
    """Whether the unified hierarchy is mounted beside the v1 ones."""
    return os.access(f"{HYBRID}/cgroup.controllers", os.F_OK)


def fail(what: str, error: OSError) -> NoReturn:
    """Raise the FileError of a failed call, in Go's form `what: reason`."""
    raise FileError(f"{what}: {reason(error)}", error.errno or 0) from None


def open_file(directory: str, name: str, flags: int) -> int:
    """Open a cgroup file, for its descriptor; a name from a config can't lead out of the cgroup."""
    if not directory:
        raise FileError(f"no directory specified for {name}")
    if "/" in name:
        raise FileError(f"{name!r} is not the name of a cgroup file", errno.ENOENT)
    path = f"{directory}/{name}"
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        fail(f"openat2 {path}", error)


def write(directory: str, name: str, *values: str) -> None:
    """Write one value, or several with one write(2) each, into a cgroup file."""
    descriptor = open_file(directory, name, os.O_WRONLY)
    try:
        for value in values:
            write_open(descriptor, f"{directory}/{name}", value)
    finally:
        os.close(descriptor)


def write_open(descriptor: int, path: str, value: str) -> None:
    """Write a value into an open cgroup file."""
    try:
        os.write(descriptor, os.fsencode(value))
    except OSError as error:
        fail(f"failed to write {quoted(value)}: write {path}", error)


def read(directory: str, name: str) -> str:
    """The text of a cgroup file, blanks at both ends removed."""
    descriptor = open_file(directory, name, os.O_RDONLY)
    try:
        parts = [os.read(descriptor, 65536)]
        while parts[-1]:
            parts.append(os.read(descriptor, 65536))
    except OSError as error:
        fail(f"read {directory}/{name}", error)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace").strip()


def read_number(directory: str, name: str) -> int:
    """The number in a cgroup file; `max` is UNLIMITED, a negative one 0 (the kernel's counters may run below)."""
    return number(read(directory, name), f"{directory}/{name}")


def number(text: str, path: str) -> int:
    """The number that a text of the file at `path` stands for."""
    if text == "max":
        return UNLIMITED
    try:
        return max(0, int(text))
    except ValueError:
        raise FileError(f"unable to parse {path}: {text!r} is not a number") from None


def read_pairs(directory: str, name: str) -> dict[str, int]:
    """The `key number` lines of a cgroup file."""
    pairs = {}
    for line in read(directory, name).splitlines():
        key, separator, value = line.partition(" ")
        if not separator:
            raise FileError(f'unable to parse {directory}/{name}: line "{line}" is not in "key value" format')
        pairs[key] = number(value, f"{directory}/{name}")
    return pairs


def count(directory: str, name: str, key: str) -> int:
    """One of a cgroup file's counters; 0 where it can't be told."""
    try:
        return read_pairs(directory, name).get(key, 0)
    except FileError:
        return 0


def limit(directory: str, name: str) -> int:
    """A limit, 0 where there is none or it can't be told. v1 writes "none" as the most pages that it can count."""
    try:
        text = read(directory, name).strip()
    except FileError:
        return 0
    return int(text) if text.isdecimal() and int(text) < _COUNTED_MOST else 0


def make_directories(path: str) -> list[str]:
    """Create a cgroup and its missing parents, mode 0755; the paths that were made, outermost first."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return []
    except FileNotFoundError:
        made = make_directories(os.path.dirname(path))
        return [*made, *make_directories(path)]
    except OSError as error:
        fail(f"mkdir {path}", error)
    return [path]


def own_cgroups(pid: str = "self") -> dict[str, str]:
    """Controller -> cgroup of a process; the unified hierarchy's key is "" (cgroups(7), /proc/PID/cgroup)."""
    cgroups = {}
    for line in _read_proc(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            cgroups[controller] = path
    return cgroups


def _read_proc(path: str) -> str:
    directory, _, name = path.rpartition("/")
    return read(directory, name)


def v1_mounts() -> list[tuple[str, str, list[str]]]:
    """Every v1 hierarchy that is mounted, as (mount point, root in the hierarchy, mount options)."""
    try:
        found = MountTable().of_kind("cgroup")
    except OSError as error:
        fail("open /proc/self/mountinfo", error)
    return [(mount.path, mount.root, mount.super_options) for mount in found]
