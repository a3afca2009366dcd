"""Where policies and hooks meet a call: what is changed about the container, and whether it may run at all."""

from __future__ import annotations

from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import os
from hookrun.wrapper.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from hookrun.policies.sources import Facts, Look
    from hookrun.wrapper.argv import Call
    from hookrun.wrapper.bundle import Bundle
    from hookrun.wrapper.exposure import Exposure

    Config = dict[str, Any]


def decide(call: Call, bundle: Bundle, snapshot: Config | None, engine: str) -> Verdict:
    """Apply the snapshot's policies and hooks, and those of --hook-config-path, to the bundle's config.

    `bundle.config` is not changed in place; `engine` is who called. Raises Failure where hooks can't be read.
    """
    from hookrun.wrapper import injection

    content = snapshot or {}
    sources = Sources(bundle)
    verdict = judge(call, bundle.config, content, engine, sources.look)
    sources.note(verdict)
    if not verdict.denied:
        verdict.config, injected = injection.hooked(
            content.get("hooks"), verdict.config, bundle.directory, call.globals["hook-config-path"]
        )
        verdict.hooks += injected
    return verdict


class Sources:
    """What the sources of a bundle's mounts are, found out only where a policy asks."""

    __slots__ = ("_bundle", "_exposure")

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._exposure: Exposure | None = None

    def look(self, mount: Config) -> Facts | None:
        if self._exposure is None:
            from hookrun.wrapper.exposure import Exposure

            self._exposure = Exposure(os.path.abspath(self._bundle.directory), self._bundle.config)
        return self._exposure.look(mount)

    def note(self, verdict: Verdict) -> None:
        """Leave in the verdict what was found: for the record, and for the core, which mounts nothing else."""
        if self._exposure is not None:
            verdict.sources = self._exposure.noted()
            verdict.judged = self._exposure.judged()


def judge(call: Call, config: Config, content: Config, engine: str, look: Look) -> Verdict:
    """What the snapshot's policies say of a config. For `exec`, that is the container's with the process to run."""
    verdict = Verdict(config)
    plan = content.get("policies")
    if not plan or not plan["policies"]:
        return verdict
    from hookrun.policies import decide as policies

    verdict.told = _told(engine, call.container, config, plan["asks"])
    invocation = {**_invocation(call, config, plan, engine, verdict.told), "look": look}
    outcome = policies.decide(plan, config, invocation)
    verdict.config = outcome.config
    verdict.denied = outcome.denied
    verdict.decisions = outcome.decisions
    verdict.hooks = outcome.hooks
    return verdict


def demand_settled(sources: Iterable[str]) -> None:
    """Raise Failure for a source that others can make lead elsewhere, before another runtime, or CRIU, opens it."""
    from hookrun.runtime import places

    for source in sources:
        try:
            is_settled = places.is_settled(source)
        except OSError:
            is_settled = False
        if not is_settled:
            raise Failure(
                f"mount source {source}: others than root can change where it leads, and another runtime would follow: "
                f"make it and the directories above it root's, or use hookrun's own runtime"
            )


def _invocation(call: Call, config: Config, plan: Config, engine: str, told: Config | None) -> Config:
    """What policies may ask of a call, see `hookrun.policies.match.View`."""
    return {
        "engine": engine,
        "command": call.command,
        "runtime": os.path.basename(os.fsdecode(call.argv[0])),
        "container": call.container,
        **(told or {"image": "", "labels": {}}),
        "host_namespaces": host_namespaces(config) if "namespaces.forbidHost" in plan["asks"] else None,
        "is_whole": True,
    }


def _told(engine: str, container: str, config: Config, asks: list[str]) -> Config | None:
    """What the engine's own records tell of the container, as far as a policy asks; None where none does."""
    if "image" not in asks and "label" not in asks:
        return None
    from hookrun.wrapper import claims

    return {
        "image": claims.image(engine, container, config) if "image" in asks else "",
        "labels": claims.labels(engine, container, config) if "label" in asks else {},
    }


def host_namespaces(config: Config) -> list[str]:
    """The kinds of namespaces that the config joins by a path to the host's own one."""
    linux = config.get("linux")
    found = []
    for entry in (linux.get("namespaces") or () if isinstance(linux, dict) else ()):
        path, kind = entry.get("path"), entry.get("type")
        if path and _is_hosts(path, kind):
            found.append(kind)
    return found


def _is_hosts(path: str, kind: str) -> bool:
    name = {"network": "net", "mount": "mnt"}.get(kind, kind)
    try:
        return os.path.samestat(os.stat(path), os.stat(f"/proc/self/ns/{name}"))
    except (OSError, TypeError, ValueError):  # the runtime complains about it
        return False
