"""One call as the stages of the decision see it: what the engine asked for, what is in force, and who calls."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hookrun.policies import sources
from hookrun.runtime.rootfs.judged import Judged
from hookrun.wrapper import settings
from hookrun.wrapper.cli.argv import Call
from hookrun.wrapper.exposure.call import Exposure
from hookrun.wrapper.patch.bundle import Bundle
from hookrun.wrapper.record.masking import Mask
from hookrun.wrapper.settings import Settings
from hookrun.wrapper.snapshot import Content, Snapshot

if TYPE_CHECKING:
    from hookrun.policies.sources import Facts

Config = dict[str, Any]


@dataclass(slots=True)
class Invocation:
    """A call, the snapshot in force, the settings of its profile, and the engine's name once that is known.

    `bundle` is that of a container to be made. Without one, as for `exec`, a config's mounts are judged by what it says
    alone: they were judged when the container was made, and are not made again.

    What stages find out on the way is kept here. `judged` is for the core. `told` is "image" and "labels" from the
    engine's own records, None where no policy asked for them.
    """

    call: Call
    snapshot: Snapshot
    settings: Settings
    engine: str = ""
    bundle: Bundle | None = None
    judged: Judged = field(default_factory=Judged)
    told: dict[str, Any] | None = None
    _exposure: Exposure | None = None

    @property
    def content(self) -> Content:
        """The snapshot's content, empty where there is none."""
        return self.snapshot.content or {}

    @property
    def has_rules(self) -> bool:
        """Whether there may be anything that changes or forbids the call."""
        return self.snapshot.content is not None or bool(self.call.globals["hook-config-path"])

    @property
    def other_runtime(self) -> str:
        """The runtime that the command line or the settings name in place of hookrun's own core, or ""."""
        named: str = self.call.globals["runtime-path"] or self.settings.runtime
        return named

    @property
    def directory(self) -> str:
        """The bundle's absolute directory, "" where there is no bundle."""
        return os.path.abspath(self.bundle.directory) if self.bundle else ""

    @property
    def program(self) -> str:
        """The name under which hookrun was called."""
        return os.path.basename(os.fsdecode(self.call.argv[0]))

    def mask(self) -> Mask:
        """What hides secrets in a message."""
        return Mask(self.settings)

    def look(self, mount: Config) -> Facts | None:
        """The facts on a mount's source, found out when a policy asks; see `hookrun.policies.sources.Look`."""
        exposure = self._exposed()
        return exposure.look(mount) if exposure else sources.stated({})(mount)

    def land(self, mounts: list[Config]) -> list[str]:
        """Where mounts land; see `hookrun.policies.sources.Land`."""
        exposure = self._exposed()
        return exposure.land(mounts) if exposure else sources.lexically(mounts)

    def _exposed(self) -> Exposure | None:
        if self._exposure is None and self.bundle is not None:
            self._exposure = Exposure(self.directory, self.bundle.config)
        return self._exposure

    def found(self) -> dict[str, Any]:
        """For the record, what policies asked about: "told", the mounts' "sources", and "lands", where these differ."""
        exposure = self._exposure
        looked_at = {"sources": exposure.noted(), "lands": exposure.lands()} if exposure else {}
        return {"told": self.told, **looked_at}

    def settle(self) -> None:
        """Leave in `judged`, for the core, which mounts nothing else, what policies have looked at. Raises OSError."""
        if self._exposure is not None:
            self._exposure.judged(self.judged)


def of_call(call: Call, snapshot: Snapshot) -> Invocation:
    """A call under the name in its argv[0], which chooses the profile."""
    return Invocation(call, snapshot, settings.chosen(snapshot.content, os.fsdecode(call.argv[0]), snapshot.directory))
