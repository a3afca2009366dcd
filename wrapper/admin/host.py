"""Where things are on the host that hookctl works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from hookrun import wrapper
from hookrun.wrapper import snapshot

CONFIG = Path("/etc/hookrun")
STATE = Path(wrapper.STATE)


@dataclass(frozen=True)
class Host:
    """The directories of one host: what its administrator writes, and what hookctl keeps."""

    config: Path
    state: Path
    candidate: Path | None = None
    """A fleet's bundle to look at, instead of the one in force."""

    @property
    def settings_file(self) -> Path:
        return self.config / "config.yaml"

    @property
    def policies(self) -> Path:
        return self.config / "policies.d"

    @property
    def hooks(self) -> Path:
        return self.config / "hooks.d"

    @property
    def snapshot(self) -> Path:
        return self.state / "snapshot"

    @property
    def history(self) -> Path:
        """The snapshots before the one in force."""
        return self.state / snapshot.HISTORY

    @property
    def fleet(self) -> Path:
        """What `hookctl fleet follow` keeps."""
        return self.state / "fleet"

    @property
    def bundle_link(self) -> Path:
        """Leads to the directory of the fleet's bundle in force."""
        return self.fleet / "bundle"

    @property
    def bundle(self) -> Path | None:
        """The directory of the fleet's bundle; None where this host has none."""
        if self.candidate is not None:
            return self.candidate
        return self.bundle_link.readlink() if self.bundle_link.is_symlink() else None

    @property
    def expired_policy(self) -> Path:
        """The policy that is in force while the fleet's metadata has expired, where the settings want that."""
        return self.fleet / "expired.yaml"

    @property
    def launchers(self) -> Path:
        return self.state / "launchers"


def of(context: typer.Context) -> Host:
    """The host that the command line chose."""
    host: Host = context.obj
    return host
