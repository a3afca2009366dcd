"""Where policies and hooks meet a call: what is changed about the container, and whether it may run at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux.namespaces import PROC_NAMES
from hookrun.runtime.rootfs.judged import Namespaces
from hookrun.wrapper import masking, settings
from hookrun.wrapper.argv import Call
from hookrun.wrapper.bundle import Bundle
from hookrun.wrapper.exposure.call import Exposure
from hookrun.wrapper.verdict import Verdict

if TYPE_CHECKING:
    from hookrun.policies.sources import Facts, Land, Look

Config = dict[str, Any]


def decide(call: Call, bundle: Bundle, snapshot: Config | None, engine: str) -> Verdict:
    """Apply the snapshot's policies and hooks, and those of --hook-config-path, to the bundle's config.

    `bundle.config` is not changed in place; `engine` is who called. Raises Failure where hooks can't be read.
    """
    from hookrun.wrapper import injection

    content = snapshot or {}
    sources = Sources(bundle)
    verdict = judge(call, bundle.config, content, engine, sources.look, sources.land)
    sources.note(verdict)
    if not verdict.denied:
        verdict.config, injected = injection.hooked(
            content.get("hooks"), verdict.config, bundle.directory, call.globals["hook-config-path"]
        )
        verdict.hooks += injected
    return verdict


class Sources:
    """What the sources of a bundle's mounts are, and where they land, found out only where a policy asks."""

    __slots__ = ("_bundle", "_exposure")

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._exposure: Exposure | None = None

    def look(self, mount: Config) -> Facts | None:
        return self._found_out().look(mount)

    def land(self, mounts: list[Config]) -> list[str]:
        return self._found_out().land(mounts)

    def _found_out(self) -> Exposure:
        if self._exposure is None:
            from hookrun.wrapper.exposure.call import Exposure

            self._exposure = Exposure(os.path.abspath(self._bundle.directory), self._bundle.config)
        return self._exposure

    def note(self, verdict: Verdict) -> None:
        """Leave in the verdict what was found: for the record, and for the core, which mounts nothing else."""
        if self._exposure is not None:
            verdict.sources = self._exposure.noted
            self._exposure.judged(verdict.judged)


def judge(call: Call, config: Config, content: Config, engine: str, look: Look, land: Land) -> Verdict:
    """What the snapshot's policies say of a config. For `exec`, that is the container's with the process to run."""
    verdict = Verdict(config)
    plan = content.get("policies")
    if not plan or not plan["policies"]:
        return verdict
    from hookrun.policies import decide as policies

    namespaces = joined_namespaces(config) if "namespaces.forbidHost" in plan["asks"] else None
    verdict.judged.namespaces = namespaces or {}
    verdict.told = _told(engine, call.container, config, plan["asks"])
    invocation = {**_invocation(call, engine, namespaces, verdict.told), "look": look, "land": land}
    if "mask" in plan["asks"]:
        invocation["mask"] = lambda: masking.Mask(settings.chosen(content, _program(call)))
    outcome = policies.decide(plan, config, invocation)
    verdict.config = outcome.config
    verdict.denied = outcome.denied
    verdict.decisions = outcome.decisions
    verdict.hooks = outcome.hooks
    return verdict


def demand_settled(verdict: Verdict) -> None:
    """Raise Failure for a judged path that others can lead elsewhere, before another runtime, or CRIU, opens it."""
    from hookrun.runtime.rootfs import places

    named = [("mount source", source) for source, _ in verdict.judged.sources]
    named += [("namespace", path) for _, path in verdict.judged.namespaces if not _is_of_process(path)]
    for what, path in named:
        try:
            is_settled = places.is_settled(path)
        except OSError:
            is_settled = False
        if not is_settled:
            raise Failure(
                f"{what} {path}: others than root can change where it leads, and another runtime would follow: "
                f"make it and the directories above it root's, or use hookrun's own runtime"
            )


def _is_of_process(path: str) -> bool:
    """Whether a path is the kernel's own name of a process's namespace: /proc/PID/ns/NAME."""
    parts = path.split("/")
    return len(parts) == 5 and parts[:2] == ["", "proc"] and parts[2].isdigit() and parts[3] == "ns"


def _invocation(call: Call, engine: str, namespaces: Namespaces | None, told: Config | None) -> Config:
    """What policies may ask of a call, see `hookrun.policies.match.View`."""
    return {
        "engine": engine,
        "command": call.command,
        "runtime": os.path.basename(_program(call)),
        "container": call.container,
        **(told or {"image": "", "labels": {}}),
        "host_namespaces": host_namespaces(namespaces) if namespaces is not None else None,
        "is_whole": True,
    }


def _program(call: Call) -> str:
    return os.fsdecode(call.argv[0])


def _told(engine: str, container: str, config: Config, asks: list[str]) -> Config | None:
    """What the engine's own records tell of the container, as far as a policy asks; None where none does."""
    if "image" not in asks and "label" not in asks:
        return None
    from hookrun.wrapper import claims

    return {
        "image": claims.image(engine, container, config) if "image" in asks else "",
        "labels": claims.labels(engine, container, config) if "label" in asks else {},
    }


def joined_namespaces(config: Config) -> Namespaces:
    """What lies at the paths by which the config joins namespaces."""
    linux = config.get("linux")
    entries = (linux.get("namespaces") or ()) if isinstance(linux, dict) else ()
    joined = [(entry.get("type"), entry.get("path")) for entry in entries if isinstance(entry, dict)]
    return {
        (kind, path): _identity(path)
        for kind, path in joined
        if isinstance(kind, str) and isinstance(path, str) and path
    }


def host_namespaces(joined: Namespaces) -> list[str]:
    """The kinds of the namespaces among some to be joined that are the host's own."""
    return [kind for (kind, _), identity in joined.items() if identity and identity == _identity(_own(kind))]


def _own(kind: str) -> str:
    return f"/proc/self/ns/{PROC_NAMES.get(kind, kind)}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the runtime complains about it
        return None
    return status.st_dev, status.st_ino
