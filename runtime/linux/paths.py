"""Paths inside a root that its owner controls, resolved by openat2(2) and used by descriptor.

A container's rootfs may hold symlinks to anywhere, and another container that shares a volume may exchange its
directories while we look. So a path is first brought into its plain form (every symlink followed inside the root) and
then opened with RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS: what was exchanged in between makes the open fail, and nothing
is done by path afterwards.
Source: openat2(2); runc: internal/pathrs.
"""

from __future__ import annotations

import errno
import os
import sys

from hookrun.runtime.linux.syscalls import NR, call

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

AT_EMPTY_PATH = 0x1000

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_MOST_LINKS = 255  # filepath-securejoin's limit
_MOST_TRIES = 64


def encoded(path: str) -> bytes:
    """A path for the kernel. Raises OSError (EINVAL) for a null byte, at which the kernel would cut it off."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise OSError(errno.EINVAL, "path contains a null byte", path)
    return name


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), close-on-exec; asks again while renames on the way make it uncertain. Raises OSError."""
    how = b"".join(word.to_bytes(8, sys.byteorder) for word in (flags | os.O_CLOEXEC, mode, resolve))
    name = encoded(path) or b"."
    for _ in range(_MOST_TRIES):
        try:
            return call(NR.openat2, directory, name, how, len(how))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                error.filename = path
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def open_plain(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open a plain path (without symlinks, as `plain` gives it) inside the root. Raises OSError."""
    return openat2(root, path, flags, _INSIDE | RESOLVE_NO_SYMLINKS)


def open_inside(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open a path inside the root, following symlinks as if the root were "/". Raises OSError."""
    return openat2(root, path, flags, _INSIDE)


def lexical(path: str) -> str:
    """A path relative to its root without empty parts, "." and "..", whatever lies on the disk."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def plain(root: int, path: str) -> str:
    """The path that `path` stands for inside the root, relative to it and free of symlinks; "" is the root itself.

    Parts that do not exist count as directories that are still to be made. Raises OSError.
    """
    done: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            del done[-1:]
            continue
        if part in ("", "."):
            continue
        done.append(part)
        target = _link(root, "/".join(done))
        if target is None:
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        else:
            done.pop()
        left += target.split("/")[::-1]
    return "/".join(done)


def _link(root: int, path: str) -> str | None:
    """Where the symlink at a path leads; None for anything else, and for nothing."""
    try:
        descriptor = open_plain(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    try:
        return os.readlink("", dir_fd=descriptor)
    except OSError as error:
        # ENOENT is what readlinkat(2) says of an open file that is no symlink, EINVAL what it says of a named one.
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
    finally:
        os.close(descriptor)


def find(root: int, path: str) -> tuple[str, int | None]:
    """The plain path of `path`, and a descriptor (O_PATH) of what lies there; None where nothing does.

    Raises OSError.
    """
    if ".." not in path:
        try:
            straight = lexical(path)
            return straight, open_plain(root, straight)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
    resolved = plain(root, path)
    try:
        return resolved, open_plain(root, resolved)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return resolved, None


def make_directory(root: int, path: str, mode: int = 0o755) -> int:
    """Make the directory at a plain path, with its parents, where it is missing; a descriptor (O_PATH) of it.

    Raises OSError: ENOTDIR or ELOOP where a part is there and no directory.
    """
    try:
        return open_plain(root, path, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    current = os.dup(root)
    for part in path.split("/"):
        try:
            current = _step(current, part, mode)
        except OSError as error:
            error.filename = f"/{path}"
            raise
    return current


def _step(directory: int, name: str, mode: int) -> int:
    """From one directory into the next, made if need be; closes the first."""
    try:
        try:
            os.mkdir(name, mode, dir_fd=directory)
        except FileExistsError:
            pass
        return openat2(directory, name, os.O_PATH | os.O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(directory)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """The directory that holds what a path names, made with its parents if need be, and the last part's name.

    Symlinks on the way are followed inside the root, one in the place of the last part is not. Raises OSError; EISDIR
    for the root itself.
    """
    directory, _, name = lexical(path).rpartition("/")
    if not name:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return make_directory(root, plain(root, directory)), name


def make_file(root: int, path: str, mode: int = 0o644) -> int:
    """Make an empty file at a plain path where nothing is yet; a descriptor of it. Raises OSError."""
    directory, _, name = path.rpartition("/")
    parent = make_directory(root, directory)
    try:
        return os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)
    finally:
        os.close(parent)


def make_symlink(root: int, path: str, target: str) -> None:
    """Make a symlink at a path inside the root; leaves what is there. Raises OSError."""
    parent, name = open_parent(root, path)
    try:
        os.symlink(target, name, dir_fd=parent)
    except FileExistsError:
        pass
    finally:
        os.close(parent)


def realpath(name: str) -> str:
    """Where a path leads as the kernel resolves it, links of /proc too; what is not there, as far as it goes."""
    try:
        descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return _as_far_as_it_goes(name)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _as_far_as_it_goes(name: str) -> str:
    try:
        return os.path.realpath(name)
    except OSError:  # a link of /proc that nobody can follow: of a process that has ended, or is not to be looked into
        return os.path.normpath(name)
