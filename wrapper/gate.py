"""Where policies and hooks meet a call: what is changed about the container, and whether it may run at all."""

from __future__ import annotations

from hookrun.runtime.linux import os
from hookrun.wrapper.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookrun.wrapper.argv import Call
    from hookrun.wrapper.bundle import Bundle

    Config = dict[str, Any]


def decide(call: Call, bundle: Bundle, snapshot: Config | None, engine: str) -> Verdict:
    """Apply the snapshot's policies and hooks, and those of --hook-config-path, to the bundle's config.

    `bundle.config` is not changed in place; `engine` is who called. Raises Failure where hooks can't be read.
    """
    from hookrun.wrapper import injection

    content = snapshot or {}
    verdict = judge(call, bundle.config, content, engine)
    if not verdict.denied:
        verdict.config, injected = injection.hooked(
            content.get("hooks"), verdict.config, bundle.directory, call.globals["hook-config-path"]
        )
        verdict.hooks += injected
    return verdict


def judge(call: Call, config: Config, content: Config, engine: str) -> Verdict:
    """What the snapshot's policies say of a config. For `exec`, that is the container's with the process to run."""
    verdict = Verdict(config)
    plan = content.get("policies")
    if not plan or not plan["policies"]:
        return verdict
    from hookrun.policies import decide as policies

    verdict.told = _told(engine, call.container, config, plan["asks"])
    outcome = policies.decide(plan, config, _invocation(call, config, plan, engine, verdict.told))
    verdict.config = outcome.config
    verdict.denied = outcome.denied
    verdict.decisions = outcome.decisions
    verdict.hooks = outcome.hooks
    return verdict


def _invocation(call: Call, config: Config, plan: Config, engine: str, told: Config | None) -> Config:
    """What policies may ask of a call, see `hookrun.policies.match.View`."""
    return {
        "engine": engine,
        "command": call.command,
        "runtime": os.path.basename(os.fsdecode(call.argv[0])),
        "container": call.container,
        **(told or {"image": "", "labels": {}}),
        "host_namespaces": host_namespaces(config) if "namespaces.forbidHost" in plan["asks"] else None,
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
