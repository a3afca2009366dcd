"""The stage of the policies: what the snapshot's policies say of a call, with what they ask about looked up."""

from __future__ import annotations

import os

from hookrun.policies import decide
from hookrun.policies.decide import Outcome
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux.namespaces import PROC_NAMES
from hookrun.runtime.rootfs import places
from hookrun.runtime.rootfs.judged import Judged, Namespaces
from hookrun.runtime.spec import config as configs
from hookrun.wrapper.caller import claims
from hookrun.wrapper.decision.invocation import Config, Invocation


def judged(config: Config, invocation: Invocation) -> Outcome:
    """What policies make of a config. For `exec`, that is the container's with the process to run. Raises OSError."""
    plan = invocation.content.get("policies")
    if not plan or not plan["policies"]:
        return Outcome(config)
    outcome = decide.decide(plan, config, _facts(config, invocation, plan["asks"]))
    invocation.settle()
    return outcome


def _facts(config: Config, invocation: Invocation, asks: list[str]) -> Config:
    """What policies may ask of a call, see `hookrun.policies.match.View`."""
    namespaces = joined_namespaces(config) if "namespaces.forbidHost" in asks else None
    invocation.judged.namespaces = namespaces or {}
    invocation.told = _told(config, invocation, asks)
    facts = {
        "engine": invocation.engine,
        "command": invocation.call.command,
        "runtime": invocation.program,
        "container": invocation.call.container,
        **(invocation.told or {"image": "", "labels": {}}),
        "host_namespaces": host_namespaces(namespaces) if namespaces is not None else None,
        "is_whole": True,
        "look": invocation.look,
        "land": invocation.land,
        "form": lambda: misform(config),
    }
    return {**facts, "mask": invocation.mask} if "mask" in asks else facts


def _told(config: Config, invocation: Invocation, asks: list[str]) -> Config | None:
    """What the engine's own records tell of the container, as far as a policy asks; None where none does."""
    if "image" not in asks and "label" not in asks:
        return None
    engine, container = invocation.engine, invocation.call.container
    return {
        "image": claims.image(engine, container, config) if "image" in asks else "",
        "labels": claims.labels(engine, container, config) if "label" in asks else {},
    }


def misform(config: Config) -> str:
    """What of a config has another type than the runtime specification gives it, "" if nothing."""
    try:
        configs.check_form(config)
    except Failure as failure:
        return failure.text
    return ""


def demand_settled(judged: Judged) -> None:
    """Raise Failure for a judged path that others can lead elsewhere, before another runtime, or CRIU, opens it."""
    named = [("mount source", source) for source, _ in judged.sources]
    named += [("namespace", path) for _, path in judged.namespaces if not _is_of_process(path)]
    for what, path in named:
        try:
            is_settled = places.is_settled(path)
        except OSError:
            is_settled = False
        if not is_settled:
            raise Failure(
                f"{what} {path}: users other than root can change where it leads, and another runtime would follow: "
                f"make it and the directories above it root's, or use hookrun's own runtime"
            )


def _is_of_process(path: str) -> bool:
    """Whether a path is the kernel's own name of a process's namespace: /proc/PID/ns/NAME."""
    parts = path.split("/")
    return len(parts) == 5 and parts[:2] == ["", "proc"] and parts[2].isdigit() and parts[3] == "ns"


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
