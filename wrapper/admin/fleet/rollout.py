"""Which version of a bundle which host is to have: the signed target `rollout.json`.

A stage is a share of the hosts, by a hash of host and bundle: the same hosts at each look, without a server that
remembers, and others for the next bundle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from hookrun.runtime.errors import Failure

TARGET = "rollout.json"
_FORMAT = 1
_WHOLE = 1 << 64


@dataclass(frozen=True)
class Gate:
    """How much may go wrong at a host before it keeps, or takes back, the version before; None is no limit.

    `simulated` counts calls of the record that would be newly denied; `denied` those that new or changed policies deny,
    and `failed` the containers that fail otherwise, both in the first `seconds` after the version came into force.
    """

    simulated: int | None = None
    denied: int | None = None
    failed: int | None = None
    seconds: int = 3600

    @property
    def watches(self) -> bool:
        """Whether what happens once the version is in force counts."""
        return self.denied is not None or self.failed is not None


@dataclass(frozen=True)
class Stage:
    """A version that some hosts try first: `share` of them, from 0 to 1, of those whose labels fit."""

    version: str
    share: float
    hosts: dict[str, list[str]] = field(default_factory=dict)
    gate: Gate = Gate()

    def has(self, host: str, name: str, labels: dict[str, str]) -> bool:
        """Whether a host, by its machine-id, is one of them."""
        fits = all(labels.get(label) in values for label, values in self.hosts.items())
        return fits and position(host, name, self.version) < self.share


@dataclass(frozen=True)
class Track:
    """A bundle's versions: the one for all hosts, those it was before, the one being tried, those taken back."""

    stable: str = ""
    before: tuple[str, ...] = ()
    stage: Stage | None = None
    revoked: tuple[str, ...] = ()

    @property
    def offered(self) -> set[str]:
        """The versions that a host may be told to have."""
        return {self.stable, *self.before, *([self.stage.version] if self.stage else [])} - {""}

    def wanted(self, host: str, name: str, labels: dict[str, str], refused: set[str]) -> tuple[str, Gate]:
        """The version that a host is to have, "" for none, and its gate. `refused` are those that failed it here."""
        if self.stage and self.stage.version not in refused and self.stage.has(host, name, labels):
            return self.stage.version, self.stage.gate
        if self.stable not in refused:
            return self.stable, Gate()
        usable = [version for version in self.before if version not in refused and version not in self.revoked]
        return (usable[0] if usable else ""), Gate()


def position(host: str, name: str, version: str) -> float:
    """Where a host stands among all for a bundle's version, from 0 to 1, evenly spread."""
    hashed = hashlib.sha256(f"{host}\n{name}\n{version}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / _WHOLE


def packed(tracks: dict[str, Track]) -> bytes:
    """rollout.json's bytes."""
    value = {"format": _FORMAT, "bundles": {name: asdict(track) for name, track in sorted(tracks.items())}}
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def unpacked(data: bytes) -> dict[str, Track]:
    """The tracks by bundle, of a rollout.json whose signatures hold. Raises Failure for one from the future."""
    try:
        value = json.loads(data)
        if value["format"] != _FORMAT:
            raise Failure(f"{TARGET} has format {value['format']}: this hookrun is too old for it, upgrade it")
        return {name: _track(one) for name, one in value["bundles"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failure(f"{TARGET} is damaged: publish it anew") from None


def _track(value: dict[str, Any]) -> Track:
    stage = value["stage"]
    found = Stage(**{**stage, "gate": Gate(**stage["gate"])}) if stage else None
    return Track(value["stable"], tuple(value["before"]), found, tuple(value["revoked"]))
