"""Who can write a file that decides what runs as root. The one check of it: hooks/ gets it as a function."""

from __future__ import annotations

import errno
import os
import stat

from hookrun.runtime.linux.namespaces import in_user_namespace

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40
_OVERFLOW_UID = 65534  # what the kernel shows for an owner that the user namespace does not map


def problem(path: str) -> str:
    """Why a file cannot be trusted, "" where root or this user alone can write it. Raises OSError.

    Rootless Podman calls its runtime in a user namespace, where the host's root is shown as nobody.
    """
    status = os.stat(path)
    if not status.st_mode & OTHERS_WRITE and (status.st_uid in (0, os.geteuid()) or _may_be_root(status.st_uid)):
        return ""
    return described(status)


def exchangeable(path: str) -> str:
    """Why others than root and this user could exchange what lies at an absolute path, "" where they can't.

    Raises OSError where there is nothing.
    """
    place = weakest(path)
    return f"{place}: {described(os.lstat(place))}" if place else ""


def untrusted(path: str) -> str:
    """Why a file on this host, or what lies in a directory, cannot be trusted; "" where it can. Raises OSError.

    As `problem` for the file itself, and as `exchangeable` for its place.
    """
    place = weakest_of_all(path)
    return described(os.lstat(place), "it" if place == path else place) if place else ""


def weakest_of_all(path: str) -> str:
    """As `weakest`, but also a sticky directory itself: others can't exchange what is there, but can add to it."""
    return weakest(os.path.join(os.getcwd(), path)) or (path if problem(path) else "")


def weakest(path: str) -> str:
    """The first place on the way to an absolute path that others than root and this user could exchange, else "".

    Every directory on the way counts, and every symlink. Raises OSError where there is nothing.
    """
    here, left, links = "/", path.split("/")[::-1], 0
    found = "/" if _is_replaceable("/") else ""
    while left and not found:
        part = left.pop()
        if part == "..":
            here = os.path.dirname(here)
        elif part not in ("", "."):
            place = os.path.join(here, part)
            found = place if _is_replaceable(place) else ""
            if stat.S_ISLNK(os.lstat(place).st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(place)
                here = "/" if target.startswith("/") else here
                left += target.split("/")[::-1]
            else:
                here = place
    return found


def _is_replaceable(place: str) -> bool:
    """In a sticky directory, as /tmp, others can exchange only what is theirs."""
    status = os.lstat(place)
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    is_open = status.st_mode & OTHERS_WRITE and not is_sticky
    is_link = stat.S_ISLNK(status.st_mode)
    is_trusted = status.st_uid in (0, os.geteuid()) or _may_be_root(status.st_uid)
    return bool(is_open and not is_link) or not is_trusted


def described(status: os.stat_result, what: str = "it") -> str:
    """That a file with this status is open to others, in words."""
    return f"users other than root can write {what} (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o})"


def _may_be_root(uid: int) -> bool:
    if uid != _OVERFLOW_UID:
        return False
    return in_user_namespace()
