"""What policies judged of a config by what lies on the host: the core takes that and nothing else."""

from __future__ import annotations

from hookrun.runtime.rootfs.sources import Identity
from hookrun.runtime.spec.container_mounts import Origin

Namespaces = dict[tuple[str, str], tuple[int, int] | None]


class Judged:
    """What is not here, no policy asked about."""

    __slots__ = ("namespaces", "places", "sources")

    def __init__(self) -> None:
        self.sources: dict[Origin, Identity] = {}
        """The sources of binds, and the rootfs."""
        self.places: dict[str, set[str]] = {}
        """Where in the rootfs mounts land, without a "/" before; by destinations as `container_mounts` has them."""
        self.namespaces: Namespaces = {}
        """Those joined by a path, by kind and path: device and inode, None where nothing was there."""
