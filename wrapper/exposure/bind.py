"""The source of a bind mount."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from hookrun.policies.sources import Stated
from hookrun.runtime.linux import mounts
from hookrun.runtime.linux.mountinfo import is_within
from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.places import Area
from hookrun.runtime.rootfs.sources import Identity
from hookrun.wrapper.exposure.named import Group, Host, Named, covers


class Bind:
    """What a bind mount shows."""

    def __init__(
        self,
        host: Host,
        source: str,
        place: places.Place,
        *,
        recursive: bool,
        is_root: bool,
        stays_open: bool,
    ) -> None:
        """`stays_open` is whether the config wants later mounts below the source to appear in the container."""
        self.devices: list[str] = []
        self._host = host
        self._source = source
        self._place = place
        self._is_recursive = recursive
        self._is_root = is_root
        self._stays_open = stays_open
        self._is_alone: bool | None = None
        self._areas: list[Area] | None = None
        self._names: list[str] | None = None
        self._real: list[str] | None = None
        self._origins: list[str] | None = None
        self._asked: dict[tuple[str, ...], Named | None] = {}

    @property
    def names(self) -> list[str]:
        if self._names is None:
            found = dict.fromkeys((os.path.normpath(self._source), self._place.path))
            for device, inner in self._found_areas():
                found.update(dict.fromkeys(name for _, name in self._host.table.names(device, inner)))
            self._names = list(found)
        return self._names

    @property
    def may_be_anything(self) -> bool:
        return not self._found_areas()

    @property
    def real(self) -> list[str]:
        if self._real is None:
            try:
                self._real = places.real_names(self._place)
            except (OSError, places.Uncertain):
                self._real = []
        return self._real

    @property
    def origins(self) -> list[str]:
        if self._origins is None:
            try:
                self._origins = [
                    name
                    for device, inner in self._found_areas()
                    for name in places.real_names_of(device, inner, self._host.table)
                ]
            except (OSError, places.Uncertain):
                self._origins = []
        return self._origins

    @property
    def attributes(self) -> dict[str, Any]:
        status = self._place.status
        try:
            kind = {"fileSystem": self._place.mount.kind}
        except (OSError, places.Uncertain):
            kind = {}
        return {
            **kind,
            "mountPoint": status.is_mount_root,
            "owner": status.uid,
            "mode": f"{status.mode & 0o7777:04o}",
        }

    @property
    def has_mounts_below(self) -> bool:
        status = self._place.status
        return (
            self._is_recursive
            and status.is_directory
            and bool(self._host.table.below(status.mount_id, self._place.path))
        )

    def shows(self, paths: tuple[str, ...]) -> str:
        group = self._host.group(paths)
        found = group.files.get(self._place.status.identity)
        if found is None and (not self._is_one_file() or group.may_have_layers()):
            self._asked[paths] = found = self._found_below(group)
        return found.path if found else ""

    def _found_below(self, group: Group) -> Named | None:
        """The first of a rule's paths that lies below what is shown."""
        for device, area in self._found_areas():
            for inner, named in group.on(device):
                if is_within(inner, area):
                    return named
        for named in group.linked:
            if self._holds(named):
                return named
        return None

    def _is_one_file(self) -> bool:
        """Whether there is nothing else that it shows: no directory, and no overlay's file, which is a layer's too."""
        if self._place.status.is_directory:
            return False
        if self._is_alone is None:
            try:
                self._is_alone = self._place.mount.kind != "overlay"
            except (OSError, places.Uncertain):
                self._is_alone = False
        return self._is_alone

    def _found_areas(self) -> list[Area]:
        """The parts of file systems that it shows; none where that can't be known."""
        if self._areas is None:
            try:
                self._areas = self._find_areas()
            except (OSError, places.Uncertain):
                self._areas = []
        return self._areas

    def _find_areas(self) -> list[Area]:
        if self._is_root:
            return places.areas_of_rootfs(self._place)
        if self._stays_open and places.is_open(self._place):
            return []
        return places.areas(self._place, recursive=self._is_recursive)

    def _holds(self, named: Named) -> bool:
        """Whether one of the file's hard links lies below. Rare, and the only way to know is to look everywhere."""
        if not self._place.status.is_directory or not {device for device, _ in named.origins()} & {
            device for device, _ in self._found_areas()
        }:
            return False
        assert named.identity is not None
        inode = named.identity[1]
        if self._is_recursive or not self._place.table.below(self._place.status.mount_id, self._place.path):
            return any(entry.inode() == inode for entry in _below(self._place.path))
        return self._holds_uncovered(inode)

    def _holds_uncovered(self, inode: int) -> bool:
        """The same for a bind that leaves the mounts below behind: it shows what they cover."""
        try:
            tree = mounts.open_tree(self._place.path, recursive=False)
        except OSError:
            return True
        try:
            return any(entry.inode() == inode for entry in _below(f"/proc/self/fd/{tree}"))
        finally:
            os.close(tree)

    def is_at(self, path: str) -> bool:
        return self._host.named(path).is_file(self._place)

    def is_below(self, directory: str) -> bool:
        above = self._host.named(directory)
        if above.is_file(self._place):
            return False
        return bool(self._found_areas()) and all(self._is_area_below(area, above) for area in self._found_areas())

    def _is_area_below(self, area: Area, above: Named) -> bool:
        if any(covers(origin, area) for origin in above.origins()):
            return True
        try:
            names = places.real_names_of(*area, self._host.table)
        except (OSError, places.Uncertain):
            return False
        return all(is_within(name, above.path) for name in names)

    def identity(self, rootfs: str) -> Identity:
        """What the core compares with what it mounts. Raises OSError."""
        made_here = "" if self._is_root else rootfs
        return Identity(self._place, recursive=self._is_recursive, made_here=made_here)

    def noted(self) -> dict[str, Any]:
        """The facts as they can be stated; of the answers those that do not follow from the paths."""
        found: dict[str, Any] = {"realPath": self.real or [self._place.path], **self.attributes}
        if self.has_mounts_below:
            found["mountsBelow"] = True
        if self.may_be_anything:
            found["mayBeAnything"] = True
        shows = self._unexpected(Stated(self._source, found)) if self._asked else {}
        return {**found, "shows": shows} if shows else found

    def _unexpected(self, silent: Stated) -> dict[str, bool]:
        """The answers that nobody would give who is told no more than `silent`."""
        shows: dict[str, bool] = {}
        for paths, shown in self._asked.items():
            if shown is None:
                shows.update((path, False) for path, plain in self._host.group(paths).plain if silent.covers(plain))
            elif not silent.shows((shown.path,)):
                shows[shown.path] = True
        return shows


def _below(directory: str) -> Iterator[Any]:
    """All that lies below a directory, as os.DirEntry; what can't be read is left out."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
