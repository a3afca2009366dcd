"""The mounts of one call: looked up when a policy asks, each once, and kept.

For the record, so that the same call can be judged again, and for the core, which mounts nothing but what was judged.
"""

from __future__ import annotations

from typing import Any

from hookrun.policies.mounts import is_bind
from hookrun.policies.sources import Facts, Stated, inside
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import paths
from hookrun.runtime.linux.mounts import MS_SHARED, MS_SLAVE
from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.judged import Judged
from hookrun.runtime.rootfs.sources import Identity
from hookrun.runtime.spec import container_mounts
from hookrun.runtime.spec.container_mounts import Mount, Origin
from hookrun.runtime.spec.sections import root_path
from hookrun.wrapper.exposure import landing
from hookrun.wrapper.exposure.bind import Bind
from hookrun.wrapper.exposure.filesystem import Filesystem
from hookrun.wrapper.exposure.named import Host

_OPENING = MS_SHARED | MS_SLAVE


class Exposure:
    """The mounts of one call. `bundle` is the bundle's absolute directory, `config` its config."""

    def __init__(self, bundle: str, config: dict[str, Any]) -> None:
        self._bundle = bundle
        self._root = _root_path(config, bundle)
        self._host = Host()
        self._seen: dict[tuple[Any, ...], Facts] = {}
        self._binds: dict[Origin, Bind] = {}
        self._filesystems: dict[str, Filesystem] = {}
        self._missing: set[Origin] = set()
        self._places: dict[str, set[str]] = {}
        self._looked_at: dict[int, tuple[dict[str, Any], Facts | None]] = {}

    def look(self, mount: dict[str, Any]) -> Facts | None:
        """The facts on a mount's source, see `hookrun.policies.sources.Look`."""
        known = self._looked_at.get(id(mount))
        if known is None:  # the mount is kept, so that no other one gets its id
            known = self._looked_at[id(mount)] = (mount, self._looked_up(mount))
        return known[1]

    def land(self, mounts: list[dict[str, Any]]) -> list[str]:
        """Where mounts land, see `hookrun.policies.sources.Land`."""
        found = landing.places(mounts, self._bundle, self._root)
        for destination, place in found:
            self._places.setdefault(destination, set()).add(place)
        return [f"/{place}" for _, place in found]

    def _looked_up(self, mount: dict[str, Any]) -> Facts | None:
        try:
            if mount.get("type") in places.ANEW and not is_bind(mount):
                return None
            parsed = container_mounts.parse(mount, self._bundle, self._root)
        except (AttributeError, Failure, TypeError):  # the runtime refuses such a mount
            return None
        if parsed.is_bind or parsed.kind == "bind":
            is_root = mount.get("destination") == "/"
            key = (parsed.source, parsed.is_recursive, is_root, *parsed.options.propagation)
            if key not in self._seen:
                self._seen[key] = self._bind(parsed, is_root=is_root)
            return self._seen[key]
        return self._filesystem(parsed)

    def _bind(self, mount: Mount, *, is_root: bool) -> Facts:
        try:
            place = places.find(mount.source, self._host.table)
        except OSError:
            self._missing.add(mount.origin)
            return Stated(paths.realpath(mount.source), {})
        self._binds[mount.origin] = bind = Bind(
            self._host,
            mount.source,
            place,
            recursive=mount.is_recursive,
            is_root=is_root,
            stays_open=any(change & _OPENING for change in mount.options.propagation),
        )
        return bind

    def _filesystem(self, mount: Mount) -> Facts | None:
        key = (mount.kind, mount.source, *mount.options.data)
        if key not in self._seen:
            found = Filesystem(self._host, mount, self._bundle)
            if found.is_anew:
                return None
            self._seen[key] = self._filesystems[mount.source] = found
        return self._seen[key]

    def judged(self, judged: Judged) -> None:
        """Leave what was asked about for the core. Raises OSError."""
        judged.sources = {origin: bind.identity(self._root) for origin, bind in self._binds.items()}
        judged.sources |= {origin: Identity(None, recursive=False) for origin in self._missing}
        judged.places = self._places

    def lands(self) -> dict[str, str]:
        """Where mounts land, of those that land elsewhere than their destinations say; for the record, as `noted`."""
        return {
            inside(destination): f"/{place}"
            for destination, places in self._places.items()
            for place in places
            if inside(destination) != f"/{place}"
        }

    def noted(self) -> dict[str, Any]:
        """The facts for the record, in the form that tests state them in (`invocation: {sources: …}`)."""
        binds = {source: bind.noted() for (source, _), bind in sorted(self._binds.items(), key=_origin)}
        return {source: found.noted() for source, found in self._filesystems.items()} | binds


def _origin(entry: tuple[Origin, Bind]) -> Origin:
    """Recursive ones come last: they show more."""
    return entry[0]


def _root_path(config: dict[str, Any], bundle: str) -> str:
    try:
        return root_path(config, bundle)
    except (AttributeError, KeyError, TypeError):  # the runtime refuses such a config
        return bundle
