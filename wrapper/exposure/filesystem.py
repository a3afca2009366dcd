"""The source of a mount that is no bind."""

from __future__ import annotations

from typing import Any

from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.places import Area
from hookrun.runtime.spec.container_mounts import Mount
from hookrun.wrapper.exposure.named import Host, covers


class Filesystem:
    """The source of a mount that is no bind: a device, or an overlay's layers."""

    def __init__(self, host: Host, mount: Mount, bundle: str) -> None:
        """`bundle` is the bundle's directory, where relative paths start."""
        self._host = host
        self._areas: list[Area] = []
        self.devices: list[str] = []
        self.may_be_anything = False
        self.names: list[str] = [mount.source] if mount.source.startswith("/") else []
        self.real: list[str] = []
        self.origins: list[str] = []
        self.attributes: dict[str, Any] = {"fileSystem": mount.kind}
        self.has_mounts_below = False
        try:
            found = places.Filesystem(mount.kind, mount.source, mount.options.data, bundle, host.table)
        except (OSError, places.Uncertain):
            self.may_be_anything = True
            return
        self._areas, self.devices = found.areas, found.devices
        for device, inner in self._areas:
            self.names += [name for _, name in host.table.names(device, inner)]

    @property
    def is_anew(self) -> bool:
        """Whether it shows nothing of what is there on the host."""
        return not self._areas and not self.may_be_anything

    def shows(self, paths: tuple[str, ...]) -> str:
        for named in self._host.group(paths).members:
            if any(covers(area, origin) for area in self._areas for origin in named.origins()):
                return named.path
        return ""

    def is_at(self, path: str) -> bool:
        return False

    def is_below(self, directory: str) -> bool:
        return False

    def noted(self) -> dict[str, Any]:
        """The facts as they can be stated."""
        found: dict[str, Any] = {"names": self.names, **self.attributes}
        if self.devices:
            found["devices"] = self.devices
        if self.may_be_anything:
            found["mayBeAnything"] = True
        return found
