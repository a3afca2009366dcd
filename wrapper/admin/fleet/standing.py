"""What a host remembers of its fleet: STATE/fleet/standing.json, beside the metadata, the downloads and the bundles."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import files, store
from hookrun.wrapper.admin.fleet.rollout import Gate
from hookrun.wrapper.admin.host import Host

_NAME = "standing.json"


@dataclass(frozen=True)
class Held:
    """A version that this host has: since when, its gate, and the policies that it brought or changed."""

    name: str
    version: str
    digest: str
    since: float
    gate: Gate
    changed: tuple[str, ...]


@dataclass
class Standing:
    """How a host stands to its fleet. Times are in seconds since 1970, 0 for never."""

    held: Held | None = None
    wanted: str = ""  # the version that the fleet has for this host
    refused: dict[str, dict[str, str]] = field(default_factory=dict)  # why, by bundle and version
    tried: float = 0
    reached: float = 0  # the last time the fleet's metadata was fetched and held good
    expires: float = 0  # of that metadata
    problem: str = ""  # why the last try failed


def read(host: Host) -> Standing:
    """What was remembered; a new one where there is nothing, or nothing that can be read."""
    try:
        value: dict[str, Any] = json.loads(files.read(host.fleet / _NAME) or "{}")
        held = value.pop("held", None)
        if held:
            held = Held(**{**held, "gate": Gate(**held["gate"]), "changed": tuple(held["changed"])})
        return Standing(held=held, **value)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Standing()


def write(host: Host, standing: Standing) -> None:
    """Remember. Raises Failure."""
    files.replace(host.fleet / _NAME, json.dumps(asdict(standing), indent=1) + "\n")


def bundles(host: Host) -> Path:
    """Where bundles are unpacked, each in a directory named like its digest."""
    return host.fleet / "bundles"


def place_of(host: Host, digest: str) -> Path:
    """Where a bundle of this digest is unpacked."""
    return bundles(host) / digest


def point_to(host: Host, directory: Path) -> None:
    """Make a bundle's directory the one that `hookctl apply` reads. Raises Failure.

    Bundles that no snapshot is made of any more, neither the one in force nor one to go back to, are dropped.
    """
    link = host.bundle_link
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    needed = {directory, *_named(host)}
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(directory)
        temporary.replace(link)
        for old in directory.parent.iterdir():
            if old not in needed:
                shutil.rmtree(old)
    except OSError as error:
        raise Failure(f"cannot write {link}: {reason(error)}") from None


def _named(host: Host) -> set[Path]:
    """The bundles that snapshots are made of, whose hooks may name programs in there."""
    place = bundles(host)
    paths = [Path(path) for entry in store.history(host) for path in entry.texts]
    return {place / path.relative_to(place).parts[0] for path in paths if place in path.parents}
