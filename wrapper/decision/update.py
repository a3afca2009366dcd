"""The limits that `update` sets, judged by the same policies as a container's: as /linux/resources of its config."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups import resources as limits
from hookrun.runtime.cgroups.resources import section
from hookrun.runtime.commands import update
from hookrun.runtime.container import container as containers
from hookrun.runtime.context import Context
from hookrun.runtime.errors import Failure
from hookrun.wrapper.cli import argv
from hookrun.wrapper.decision import policing, process
from hookrun.wrapper.decision.invocation import Invocation
from hookrun.wrapper.record.record import Record

Resources = dict[str, Any]

_STDIN = 0
_ZERO_COUNTS = ("swappiness", "idle", "burst")  # elsewhere, 0 leaves a limit as it is


def decide(context: Context, invocation: Invocation, record: Record) -> None:
    """Let policies judge and change the limits; leave in `context.resources` those to set.

    Policies see the container's config with the limits that it would have. What they change counts in the parts of the
    resources that the update names; all else stays as it is. Raises Failure where one of them forbids the update, and
    where there is no such container.
    """
    if not invocation.snapshot.has_policies:
        return
    call = invocation.call
    is_delegated = bool(invocation.other_runtime)
    config = process.container_config(context, call, is_delegated)
    wanted = update.wanted(call.options, call.given)
    linux = config.get("linux") or {}
    asked = overlaid(overlaid(linux.get("resources") or {}, _current(context, call)), wanted)
    judged = {**config, "linux": {**linux, "resources": asked}}
    invocation.engine = record.confirm(config or None)
    outcome = policing.judged(judged, invocation)
    outcome.hooks = []
    record.decided(outcome, invocation.found())
    context.resources = wanted
    if not outcome.denied:
        context.resources = adopted(wanted, asked, outcome.config["linux"].get("resources") or {})
    record.updated(wanted, context.resources)
    if outcome.denied:
        raise Failure(outcome.denied)
    if is_delegated and context.resources == wanted and "resources" not in call.given:
        context.resources = None  # the flags say all of it, and nobody can change them any more


def _current(context: Context, call: argv.Call) -> Resources:
    """The limits that earlier updates set, as hookrun's own core keeps them."""
    try:
        kept = containers.load(context.root, call.container).state["config"]["cgroups"]
        return limits.of_state(kept)
    except (Failure, KeyError, TypeError, AttributeError):
        return {}


def overlaid(resources: Resources, wanted: Resources) -> Resources:
    """Resources with what an update names put over them."""
    made = dict(resources)
    for part, fields in wanted.items():
        if isinstance(fields, dict):
            named = {name: value for name, value in fields.items() if _is_named(name, value)}
            if named or part not in made:
                made[part] = {**section(made, part), **named}
        elif fields:
            made[part] = fields
    return made


def _is_named(name: str, value: Any) -> bool:
    return value is not None and (bool(value) or isinstance(value, bool) or name in _ZERO_COUNTS)


def adopted(wanted: Resources, asked: Resources, judged: Resources) -> Resources:
    """An update with what policies made of `asked`, in the parts that the update names."""
    made = dict(wanted)
    for part, fields in wanted.items():
        if not isinstance(fields, dict):
            made[part] = judged.get(part)
        elif any(_is_named(name, value) for name, value in fields.items()):
            before, after = section(asked, part), section(judged, part)
            kept = {name: value for name, value in fields.items() if name in after or not _is_named(name, value)}
            made[part] = {**kept, **{name: value for name, value in after.items() if value != before.get(name)}}
    return made


def handed_over(call: argv.Call, resources: Resources) -> argv.Call:
    """The command line by which another runtime sets these limits, which it gets on stdin.

    No other file could be exchanged after the decision.
    """
    descriptor = os.memfd_create("resources")
    os.write(descriptor, jsonio.dumps(resources).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, _STDIN)
    os.close(descriptor)
    if "resources" in call.given:
        return argv.parse(call.written({"resources": "-"}))
    words = call.written()
    place = words.index(b"update") + 1
    return argv.parse([*words[:place], b"--resources", b"-", *words[place:]])
