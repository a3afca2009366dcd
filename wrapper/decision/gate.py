"""The gate: the stages that a container's config goes through on its way from the engine to the runtime."""

from __future__ import annotations

from collections.abc import Callable

from hookrun.policies.decide import Outcome
from hookrun.wrapper.decision import filters, injection, policing
from hookrun.wrapper.decision.invocation import Config, Invocation

# Each takes a config and the call, and says what becomes of the config and why. The config that it was given stays.
Stage = Callable[[Config, Invocation], Outcome]

STAGES: tuple[Stage, ...] = (
    policing.judged,
    injection.devices,
    injection.hooks_of_command_line,
    injection.hooks_of_host,
    filters.filtered,
)


def decide(config: Config, invocation: Invocation) -> Outcome:
    """Send a config through all stages, until one denies the call. Raises Failure where hooks can't be read or run."""
    whole = Outcome(config)
    for stage in STAGES:
        found = stage(whole.config, invocation)
        whole.config = found.config
        whole.decisions += found.decisions
        whole.hooks += found.hooks
        whole.denied = found.denied
        if whole.denied:
            break
    return whole
