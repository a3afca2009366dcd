"""What a host remembers of its fleet: STATE/fleet/standing.json, beside the metadata, the downloads and the bundles."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper.admin import files
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


def place_of(host: Host, digest: str) -> Path:
    """Where a bundle of this digest is unpacked."""
    return host.fleet / "bundles" / digest


def point_to(host: Host, directory: Path) -> None:
    """Make a bundle's directory the one that `hookctl apply` reads, and drop older ones. Raises Failure."""
    link = host.bundle_link
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    before = link.resolve() if link.is_symlink() else None
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(directory)
        temporary.replace(link)
        for old in directory.parent.iterdir():
            if old not in (directory, before):
                shutil.rmtree(old)
    except OSError as error:
        raise Failure(f"cannot write {link}: {reason(error)}") from None
