"""The verdict of all policies on one call: a plan and a config go in, a new config and decisions come out.

A plan is what the compiler makes: {"policies": packed policies in their order, "always": the numbers of those to look
at for every call, "index": [(subject, {value: numbers})] for those that want a certain value, "asks": facts that the
caller has to find out}. `match` looks at the config as the engine wrote it; all else at what the policies before left.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypedDict

from hookrun.policies import exceptions, match, messages, patch, policy, words
from hookrun.policies.draft import Draft
from hookrun.policies.exceptions import Exemption
from hookrun.policies.merge import merged
from hookrun.policies.messages import Message
from hookrun.policies.pointer import Fault, same
from hookrun.policies.policy import Policy

Config = dict[str, Any]


class Plan(TypedDict):
    """What the compiler makes of all policies in force."""

    policies: list[bytes]
    """Packed, in the order in which they judge."""
    always: list[int]
    """The numbers of those to look at for every call."""
    index: list[tuple[match.Subject, dict[Any, list[int]]]]
    """For those that want a certain value: what has it, and their numbers by value."""
    asks: list[str]
    """Facts that the caller has to find out."""


@dataclass(slots=True)
class Outcome:
    """What was decided about a call. `config` is the very object that came in where nothing changes.

    `denied` is "" or the line for the user. `decisions` and `hooks` are for the record: which policy did what in how
    many milliseconds, and which hook comes from where.
    """

    config: Config
    decisions: list[dict[str, Any]] = field(default_factory=list)
    denied: str = ""
    hooks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """What one policy by itself does to a config; `denied` and `fault` are "" where it does not.

    `exempt` is the exception that has it do nothing, `ended` one that would if it were not over.
    """

    config: Config
    denied: str = ""
    fault: str = ""
    exempt: Exemption | None = None
    ended: Exemption | None = None
    hooks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Turn:
    """One policy's turn at a call: the config `before` it, what it does, and in how many milliseconds.

    `denied` is why the call ends here, "" if it does not.
    """

    policy: Policy
    before: Config
    step: Step
    milliseconds: float
    denied: str

    @property
    def is_enforced(self) -> bool:
        """Whether what the policy does counts, and is not only written down."""
        return self.policy.mode == policy.ENFORCE


def decide(plan: Plan, config: Config, invocation: dict[str, Any]) -> Outcome:
    """Judge a call. `config` is not changed in place; for `invocation` see `match.View`."""
    outcome = Outcome(config)
    view = match.View(config, invocation)
    for turn in turns((policy.unpacked(plan["policies"][number]) for number in candidates(plan, view)), view):
        if turn.is_enforced:
            outcome.config = turn.step.config
            outcome.hooks += turn.step.hooks
        if turn.denied:
            outcome.denied = f"policy {turn.policy.name}: {turn.denied}"
        outcome.decisions.append(_noted(turn))
    return outcome


def turns(policies: Iterable[Policy], view: match.View) -> Iterator[Turn]:
    """Have the policies that are for a call judge it, each what those before left of the config, until one refuses."""
    config = view.config
    for one in policies:
        start = time.monotonic_ns()
        if not match.is_for(one, view):
            continue
        step = judge(one, config, view)
        denied = refusal(one, step) if one.mode == policy.ENFORCE else ""
        yield Turn(one, config, step, round((time.monotonic_ns() - start) / 1_000_000, 3), denied)
        if denied:
            return
        if one.mode == policy.ENFORCE:
            config = step.config


def candidates(plan: Plan, view: match.View) -> list[int]:
    """The numbers of the policies that the call's facts do not rule out, in order."""
    numbers: list[int] = list(plan["always"])
    for subject, buckets in plan["index"]:
        for value in view.values(subject):
            if isinstance(value, str | int | float):
                numbers += buckets.get(value, ())
    return sorted(set(numbers))


def judge(one: Policy, config: Config, view: match.View) -> Step:
    """What a policy that matches does to a config; `view` is of the call as the engine made it."""
    step = Step(config)
    try:
        if one.exceptions:
            step.exempt, step.ended = exceptions.applying(one.exceptions, view)
            if step.exempt:
                return step
        step.denied = _refusal(one, config, view)
        if not step.denied and (one.changes or one.patch or one.hooks or one.merge is not None):
            _change(one, step, view.invocation)
    except Fault as fault:
        step.config, step.hooks, step.fault = config, [], str(fault)
    except (AttributeError, KeyError, TypeError, ValueError):  # a list where an object should be, and the like
        step.config, step.hooks, step.fault = config, [], _misformed(view.invocation)
    return step


def _misformed(invocation: dict[str, Any]) -> str:
    told: str = invocation["form"]() if "form" in invocation else ""
    return told or "the config does not have the form that the runtime specification gives it"


def _refusal(one: Policy, config: Config, view: match.View) -> str:
    invocation = view.invocation
    if one.denials:
        # What was looked up for `match` holds on, where no policy before has changed the config.
        message = denial(one, view if view.config is config else match.View(config, invocation))
        if message is not None:
            return messages.rendered(message, config, invocation)
    for name, argument in one.checks:
        refusal = words.CHECKS[name](config, invocation, argument)
        if refusal:
            return messages.rendered(refusal, config, invocation)
    return ""


def denial(one: Policy, view: match.View) -> Message | None:
    """The message of the first of a policy's `deny` that holds, None if none does."""
    for condition, message in one.denials:
        if condition is None or match.holds(condition, view):
            found: Message = message
            return found
    return None


def _change(one: Policy, step: Step, invocation: dict[str, Any]) -> None:
    draft = Draft(step.config, invocation)
    for name, argument in one.changes:
        words.CHANGES[name](draft, argument)
    if one.patch:
        patch.apply(draft, one.patch)
    if one.merge is not None:
        draft = Draft(merged(draft.root, one.merge), invocation)
    step.hooks = _inject(one, draft)
    if not isinstance(draft.root, dict):
        raise Fault("the patch must leave an object")
    if not same(draft.root, step.config):
        step.config = draft.root


def _inject(one: Policy, draft: Draft) -> list[dict[str, Any]]:
    """Append the policy's hooks, but none that is there already; returns what the record says of them."""
    injected = []
    for stage, hook, line in one.hooks:
        hooks = draft.list("hooks", stage)
        if not any(same(hook, other) for other in hooks):
            hooks.append(hook)
            injected.append(
                {"stage": stage, "path": hook["path"], "source": one.file, "line": line, "policy": one.name}
            )
    return injected


def _noted(turn: Turn) -> dict[str, Any]:
    """What a policy did, or in audit mode would have done, for the record."""
    one, step = turn.policy, turn.step
    action, message = described(one, step, turn.before)
    if not turn.is_enforced and not step.exempt:
        action, message = "audited", f"would be {action}{': ' if message else ''}{message}"
    decision = {
        "policy": one.name,
        "mode": one.mode,
        "action": action,
        "message": message,
        "ms": turn.milliseconds,
        "file": one.file,
        "line": one.line,
    }
    if one.severity:
        decision["severity"] = one.severity
    if one.owner:
        decision["owner"] = one.owner
    if exception := step.exempt or step.ended:
        decision["exception"] = exceptions.noted(exception, ended=step.exempt is None)
    return decision


def refusal(one: Policy, step: Step) -> str:
    """Why a policy refuses the call, "" if it does not. One that cannot be evaluated does, but for `onError: allow`."""
    why = f"cannot be evaluated: {step.fault}" if step.fault and one.on_error == policy.DENY else step.denied
    return f"{why} ({exceptions.told_end(step.ended)})" if why and step.ended else why


def described(one: Policy, step: Step, before: Config) -> tuple[str, str]:
    """What a policy did in one word, and the text to it."""
    if step.exempt:
        return "exempt", exceptions.told(step.exempt)
    if refused := refusal(one, step):
        return "denied", refused
    if step.fault:
        return "error", f"cannot be evaluated, and left out for onError: allow: {step.fault}"
    if step.hooks:
        return "hooked", f"{len(step.hooks)} hook{'s' if len(step.hooks) > 1 else ''}"
    if step.config is before:
        return "passed", ""
    return "patched", exceptions.told_end(step.ended) if step.ended else ""
