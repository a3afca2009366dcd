"""What a call's mounts show of this host: the facts that policies judge sources by (`hookrun.policies.sources`).

Looked up when a policy asks, each once, and kept: for the record, so that the same call can be judged again, and for
the core, which mounts nothing but what was judged.
"""

from __future__ import annotations

from hookrun.policies.sources import Stated, is_path
from hookrun.runtime import container_mounts, places
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os
from hookrun.runtime.linux.mounts import MS_SHARED, MS_SLAVE
from hookrun.runtime.mountinfo import MountTable, is_within, joined
from hookrun.runtime.sections import root_path
from hookrun.runtime.sources import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from hookrun.policies.sources import Facts
    from hookrun.runtime.container_mounts import Mount

    Area = tuple[str, str]


_OPENING = MS_SHARED | MS_SLAVE


class Exposure:
    """The mounts of one call. `bundle` is the bundle's absolute directory, `config` its config."""

    def __init__(self, bundle: str, config: dict[str, Any]) -> None:
        self._bundle = bundle
        self._root = _root_path(config, bundle)
        self._host = Host()
        self._seen: dict[tuple[Any, ...], Facts] = {}
        self._shown: dict[str, Shown] = {}
        self._missing: set[str] = set()
        self._looked_at: dict[int, tuple[dict[str, Any], Facts | None]] = {}

    def look(self, mount: dict[str, Any]) -> Facts | None:
        """The facts on a mount's source, see `hookrun.policies.sources.Look`."""
        known = self._looked_at.get(id(mount))
        if known is None:  # the mount is kept, so that no other one gets its id
            known = self._looked_at[id(mount)] = (mount, self._looked_up(mount))
        return known[1]

    def _looked_up(self, mount: dict[str, Any]) -> Facts | None:
        try:
            parsed = container_mounts.parse(mount, self._bundle, self._root)
        except (AttributeError, Failure, TypeError):  # the runtime refuses such a mount
            return None
        if parsed.is_bind or parsed.kind == "bind":
            is_root = mount.get("destination") == "/"
            key = (parsed.source, parsed.is_recursive, is_root, *parsed.options.propagation)
            if key not in self._seen:
                self._seen[key] = self._shown_by(parsed, is_root=is_root)
            return self._seen[key]
        return self._filesystem(parsed)

    def _shown_by(self, mount: Mount, *, is_root: bool) -> Facts:
        try:
            place = places.find(mount.source, self._host.table)
        except OSError:
            self._missing.add(mount.source)
            return Stated(os.path.realpath(mount.source), {})
        seen = Shown(
            self._host,
            mount.source,
            place,
            recursive=mount.is_recursive,
            is_root=is_root,
            stays_open=any(change & _OPENING for change in mount.options.propagation),
        )
        if mount.is_recursive or mount.source not in self._shown:
            self._shown[mount.source] = seen
        return seen

    def _filesystem(self, mount: Mount) -> Facts | None:
        key = (mount.kind, mount.source, *mount.options.data)
        if key not in self._seen:
            found = Filesystem(self._host, mount)
            if found.is_anew:
                return None
            self._seen[key] = found
        return self._seen[key]

    def judged(self) -> dict[str, Identity]:
        """What the sources are that were asked about, for `Context.judged`. Raises OSError."""
        found = {source: seen.identity(self._root) for source, seen in self._shown.items()}
        return found | {source: Identity(None, recursive=False) for source in self._missing}

    def noted(self) -> dict[str, Any]:
        """The facts for the record, in the form that tests state them in (`invocation: {sources: …}`)."""
        return {source: seen.noted() for source, seen in self._shown.items()}


class Host:
    """What rules name by path, looked up once for all mounts."""

    def __init__(self) -> None:
        self.table = MountTable()
        self._named: dict[str, Named] = {}
        self._groups: dict[tuple[str, ...], Group] = {}
        self._plain_devices: set[str] | None = None

    def named(self, path: str) -> Named:
        if path not in self._named:
            self._named[path] = Named(path, self)
        return self._named[path]

    def group(self, paths: tuple[str, ...]) -> Group:
        if paths not in self._groups:
            self._groups[paths] = Group([self.named(os.path.normpath(path)) for path in paths if is_path(path)])
        return self._groups[paths]

    def is_plain(self, named: Named) -> bool:
        """Whether what a rule names surely lies on no overlay, some of whose files have a device of their own."""
        if self._plain_devices is None:
            self._plain_devices = self.table.devices(but="overlay")
        return named.device in self._plain_devices


class Group:
    """The paths of one rule: most sources are told from all of them at one look."""

    def __init__(self, members: list[Named]) -> None:
        self.members = members
        self.files = {member.identity: member for member in members if member.status}
        self._on: dict[str, list[tuple[str, Named]]] = {}

    def may_have_layers(self, host: Host) -> bool:
        return not all(host.is_plain(member) for member in self.files.values())

    def on(self, device: str, host: Host) -> list[tuple[str, Named]]:
        """Where its paths lie on one file system."""
        if device not in self._on:
            self._on[device] = [
                (inner, member)
                for member in self.members
                if member.device == device or not host.is_plain(member)
                for origin, inner in member.origins()
                if origin == device
            ]
        return self._on[device]


class Named:
    """What lies at a path that a rule names; or would lie there."""

    def __init__(self, path: str, host: Host) -> None:
        self.path = path
        self._host = host
        self._origins: list[Area] | None = None
        try:
            self.status: os.stat_result | None = os.stat(path)
        except (OSError, ValueError):  # ValueError: a null byte
            self.status = None

    @property
    def identity(self) -> tuple[int, int] | None:
        """Device and inode; None where it is not there."""
        return (self.status.st_dev, self.status.st_ino) if self.status else None

    def is_file(self, place: places.Place) -> bool:
        """Whether a place is this very file or directory."""
        return place.status.identity == self.identity

    def origins(self) -> list[Area]:
        """Where it lies, in its file system and in the layers of an overlay. Raises OSError."""
        if self._origins is None:
            self._origins = self._found()
        return self._origins

    def _found(self) -> list[Area]:
        if self.status is None and self.path != "/":
            above, _, name = self.path.rpartition("/")
            return [(device, joined(inner, name)) for device, inner in self._host.named(above or "/").origins()]
        try:
            return places.origins(places.find(self.path, self._host.table))
        except places.Uncertain:
            return []

    @property
    def device(self) -> str:
        """The number of the device that it is on, "" where it is not there."""
        return places.device_number(self.status.st_dev) if self.status else ""

    def has_other_names(self) -> bool:
        """Whether hard links lead to it from other directories."""
        return self.status is not None and self.status.st_nlink > 1 and not os.path.isdir(self.path)


class Shown:
    """The source of a bind mount."""

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
        status, stat = self._place.status, self._place.status.stat
        try:
            kind = {"fileSystem": self._place.mount.kind}
        except (OSError, places.Uncertain):
            kind = {}
        return {
            **kind,
            "mountPoint": status.is_mount_root,
            "owner": stat.st_uid,
            "mode": f"{stat.st_mode & 0o7777:04o}",
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
        if found is None and (not self._is_one_file() or group.may_have_layers(self._host)):
            self._asked[paths] = found = self._found_below(group)
        return found.path if found else ""

    def _found_below(self, group: Group) -> Named | None:
        """The first of a rule's paths that lies below what is shown."""
        for device, area in self._found_areas():
            for inner, named in group.on(device, self._host):
                if is_within(inner, area):
                    return named
        for named in group.files.values():
            if named.has_other_names() and self._holds(named):
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
                self._areas = list(self._find_areas())
            except (OSError, places.Uncertain):
                self._areas = []
        return self._areas

    def _find_areas(self) -> Iterable[Area]:
        if self._is_root:
            return places.areas_of_rootfs(self._place)
        if self._stays_open and places.is_open(self._place):
            return ()
        return places.areas(self._place, recursive=self._is_recursive)

    def _holds(self, named: Named) -> bool:
        """Whether one of the file's hard links lies below. Rare, and the only way to know is to look everywhere."""
        if not self._place.status.is_directory or not {device for device, _ in named.origins()} & {
            device for device, _ in self._found_areas()
        }:
            return False
        assert named.status is not None
        return any(entry.inode() == named.status.st_ino for entry in _below(self._place.path))

    def is_at(self, path: str) -> bool:
        return self._host.named(path).is_file(self._place)

    def is_below(self, directory: str) -> bool:
        above = self._host.named(directory)
        if above.is_file(self._place):
            return False
        return bool(self._found_areas()) and all(self._is_area_below(area, above) for area in self._found_areas())

    def _is_area_below(self, area: Area, above: Named) -> bool:
        if any(_covers(origin, area) for origin in above.origins()):
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
        silent = Stated(self._source, found)
        shows: dict[str, bool] = {}
        for paths, shown in self._asked.items():
            if shown is None:
                shows.update((path, False) for path in paths if silent.shows((path,)))
            elif not silent.shows((shown.path,)):
                shows[shown.path] = True
        return {**found, "shows": shows} if shows else found


class Filesystem:
    """The source of a mount that is no bind: a device, or an overlay's layers."""

    def __init__(self, host: Host, mount: Mount) -> None:
        self._host = host
        self._areas: list[Area] = []
        self.may_be_anything = False
        self.names: list[str] = [mount.source] if mount.source.startswith("/") else []
        self.real: list[str] = []
        self.origins: list[str] = []
        self.attributes: dict[str, Any] = {"fileSystem": mount.kind}
        self.has_mounts_below = False
        try:
            self._areas = list(places.of_filesystem(mount.kind, mount.source, mount.options.data, host.table))
        except (OSError, places.Uncertain):
            self.may_be_anything = True
            return
        for device, inner in self._areas:
            self.names += [name for _, name in host.table.names(device, inner)]

    @property
    def is_anew(self) -> bool:
        """Whether it shows nothing of what is there on the host."""
        return not self._areas and not self.may_be_anything

    def shows(self, paths: tuple[str, ...]) -> str:
        for named in self._host.group(paths).members:
            if any(_covers(area, origin) for area in self._areas for origin in named.origins()):
                return named.path
        return ""

    def is_at(self, path: str) -> bool:
        return False

    def is_below(self, directory: str) -> bool:
        return False


def _root_path(config: dict[str, Any], bundle: str) -> str:
    try:
        return root_path(config, bundle)
    except (AttributeError, KeyError, TypeError):  # the runtime refuses such a config
        return bundle


def _covers(area: Area, place: Area) -> bool:
    return area[0] == place[0] and is_within(place[1], area[1])


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
