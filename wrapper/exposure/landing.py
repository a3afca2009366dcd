"""Where a config's mounts land in the rootfs: an image's symlinks lead elsewhere than their destinations say.

As the core will find it (`hookrun.runtime.linux.paths`), though no mount is there yet: below an earlier mount it is
that mount's source that has the links. What comes out otherwise, the core refuses.
"""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime.errors import Failure
from hookrun.runtime.spec import container_mounts

# What a place of the container shows: a directory of the host, None where there is nothing yet.
Shown = dict[str, str | None]

_MOST_LINKS = 255  # as `hookrun.runtime.linux.paths` has it


def places(mounts: list[dict[str, Any]], bundle: str, rootfs: str) -> list[tuple[str, str]]:
    """The destination of each mount as the core has it, and its place, relative to the rootfs and without symlinks.

    Both are "" for one that the runtime refuses.
    """
    shown: Shown = {"": rootfs}
    found: list[tuple[str, str]] = []
    for entry in mounts:
        try:
            mount = container_mounts.parse(entry, bundle, rootfs)
        except (AttributeError, Failure, TypeError):
            found.append(("", ""))
            continue
        place = _followed(mount.destination, shown)
        found.append((mount.destination, place))
        if mount.is_bind:
            shown[place] = mount.source
        elif not mount.options.copy_up:
            shown[place] = None
    return found


def _followed(path: str, shown: Shown) -> str:
    done: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    while left and links <= _MOST_LINKS:
        part = left.pop()
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            done.append(part)
            target = _link(done, shown)
            if target is not None:
                links += 1
                del done[0 if target.startswith("/") else -1 :]
                left += target.split("/")[::-1]
    return "/".join(done)


def _link(parts: list[str], shown: Shown) -> str | None:
    """Where the symlink at a place of the container leads; None for anything else, and for nothing."""
    for length in range(len(parts), -1, -1):
        mounted = "/".join(parts[:length])
        if mounted in shown:
            directory = shown[mounted]
            if length == len(parts) or directory is None:
                return None
            try:
                return os.readlink("/".join((directory, *parts[length:])))
            except (OSError, ValueError):
                return None
    return None
