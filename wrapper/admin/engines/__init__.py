"""The container engines that hookrun can be registered with, one module each, behind `engine.Engine`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from hookrun.wrapper.admin.engines.containerd import Containerd
from hookrun.wrapper.admin.engines.containers_conf import Buildah, Podman
from hookrun.wrapper.admin.engines.crio import Crio
from hookrun.wrapper.admin.engines.docker import Docker
from hookrun.wrapper.admin.engines.engine import Engine
from hookrun.wrapper.admin.engines.nerdctl import Nerdctl


class Kind(StrEnum):
    """The engines' names on hookctl's command line."""

    DOCKER = "docker"
    CONTAINERD = "containerd"
    CRIO = "crio"
    PODMAN = "podman"
    BUILDAH = "buildah"
    NERDCTL = "nerdctl"


_CLASSES: dict[Kind, type[Engine]] = {
    Kind.DOCKER: Docker,
    Kind.CONTAINERD: Containerd,
    Kind.CRIO: Crio,
    Kind.PODMAN: Podman,
    Kind.BUILDAH: Buildah,
    Kind.NERDCTL: Nerdctl,
}


def of(kind: Kind, file: Path | None = None) -> Engine:
    """An engine with its configuration where it always is, or in `file`."""
    return _CLASSES[kind](file.absolute() if file else None)


def found() -> list[Engine]:
    """The engines on this host, with their configuration where it always is."""
    return [engine for engine in (of(kind) for kind in Kind) if engine.is_found]
