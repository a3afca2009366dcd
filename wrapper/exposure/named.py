"""What rules name by path, looked up on this host."""

from __future__ import annotations

import os

from hookrun.policies.sources import is_path, plain
from hookrun.runtime.linux.mountinfo import MountTable, is_within, joined
from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.places import Area


class Host:
    """What rules name by path, looked up once for all mounts."""

    def __init__(self) -> None:
        self.table = MountTable()
        self._named: dict[str, Named] = {}
        self._groups: dict[tuple[str, ...], Group] = {}
        self._has_layers: dict[str, bool] = {}

    def named(self, path: str) -> Named:
        """What lies at a path."""
        if path not in self._named:
            self._named[path] = Named(path, self)
        return self._named[path]

    def group(self, paths: tuple[str, ...]) -> Group:
        """What lies at the paths of one rule."""
        if paths not in self._groups:
            self._groups[paths] = Group(paths, self)
        return self._groups[paths]

    def may_have_layers(self, device: str) -> bool:
        """Whether a device may be an overlay's: some of whose files have a device of their own. Raises OSError."""
        if device not in self._has_layers:
            self._has_layers[device] = all(mount.kind == "overlay" for mount in self.table.on(device))
        return self._has_layers[device]


class Group:
    """The paths of one rule: most sources are told from all of them at one look."""

    def __init__(self, paths: tuple[str, ...], host: Host) -> None:
        self.plain = [(path, plain(path)) for path in paths if is_path(path)]
        """The paths, and how they are spelled plainly."""
        self.members = [host.named(os.path.normpath(path)) for path, _ in self.plain]
        self.files = {member.identity: member for member in self.members if member.identity}
        self.linked = [member for member in self.files.values() if member.has_other_names()]
        """Those to which hard links may lead from other directories."""
        self._host = host
        self._may_have_layers: bool | None = None
        self._on: dict[str, list[tuple[str, Named]]] = {}

    def may_have_layers(self) -> bool:
        """Whether one of its files may lie on an overlay. Raises OSError."""
        if self._may_have_layers is None:
            self._may_have_layers = any(member.may_have_layers() for member in self.files.values())
        return self._may_have_layers

    def on(self, device: str) -> list[tuple[str, Named]]:
        """Where its paths lie on one file system. Raises OSError."""
        if device not in self._on:
            self._on[device] = [
                (inner, member)
                for member in self.members
                if member.device == device or member.may_have_layers()
                for origin, inner in member.origins()
                if origin == device
            ]
        return self._on[device]


class Named:
    """What lies at a path that a rule names; or would lie there."""

    __slots__ = ("_host", "_origins", "_place", "device", "identity", "path")

    def __init__(self, path: str, host: Host) -> None:
        self.path = path
        self._host = host
        self._origins: list[Area] | None = None
        try:
            self._place: places.Place | None = places.find(path, host.table)
        except (OSError, ValueError):  # ValueError: a null byte
            self._place = None
        self.identity = self._place.status.identity if self._place else None
        """Device and inode; None where it is not there."""
        self.device: str = places.device_number(self._place.status.device) if self._place else self._above().device
        """The number of the device that it is on."""

    def _above(self) -> Named:
        return self._host.named(self.path.rpartition("/")[0] or "/")

    def may_have_layers(self) -> bool:
        """Whether it may lie on an overlay. Raises OSError."""
        return self._host.may_have_layers(self.device)

    def is_file(self, place: places.Place) -> bool:
        """Whether a place is this very file or directory."""
        return place.status.identity == self.identity

    def origins(self) -> list[Area]:
        """Where it lies, in its file system and in the layers of an overlay. Raises OSError."""
        if self._origins is None:
            self._origins = self._found()
        return self._origins

    def _found(self) -> list[Area]:
        if self._place is None:
            name = self.path.rpartition("/")[2]
            return [(device, joined(inner, name)) for device, inner in self._above().origins()]
        try:
            return places.origins(self._place)
        except places.Uncertain:
            return []

    def has_other_names(self) -> bool:
        """Whether hard links lead to it from other directories."""
        return self._place is not None and self._place.status.links > 1 and not self._place.status.is_directory


def covers(area: Area, place: Area) -> bool:
    """Whether a place lies in a part of a file system."""
    return area[0] == place[0] and is_within(place[1], area[1])
