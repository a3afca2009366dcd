"""A line of the record: what hookrun writes of one call, and what `hookctl trace` reads back.

Fields that are not required came after the first release: an older record does not have them.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Program(TypedDict):
    """The hookrun that was called: `name` is argv[0]'s last part."""

    name: str
    version: str


class Process(TypedDict):
    """A process that called; `exe` is "" where it is not known, `cmdline` is masked."""

    pid: int
    exe: str
    cmdline: list[str]


class Caller(Process):
    """The process that called, and the one that has it call."""

    above: NotRequired[Process | None]


class Exempted(TypedDict):
    """The exception of a policy that let a call through, or has ended."""

    line: int
    reason: str
    until: str
    ended: bool


class Decision(TypedDict):
    """What one policy did (`policies.decide`)."""

    policy: str
    mode: str
    action: str
    message: str
    ms: float
    file: str
    line: int
    severity: NotRequired[str]
    owner: NotRequired[str]
    exception: NotRequired[Exempted]


class InjectedHook(TypedDict):
    """A hook that was put in. A policy's has `policy`, and its file for `source`; others have the kind of source."""

    stage: str
    path: str
    source: str
    line: int
    file: NotRequired[str]
    policy: NotRequired[str]


class HookResult(TypedDict):
    """A hook that ran; `status` is None where it did not end, `index` its place in its stage."""

    stage: str
    index: int
    path: str
    ms: float
    status: int | None
    stderr: str


class Operation(TypedDict):
    """One operation of a JSON patch (RFC 6902): add, remove or replace."""

    op: str
    path: str
    value: NotRequired[Any]


class ConfigChange(TypedDict):
    """The names of the configs before and after, which are the SHA-256 of their bytes, and what differs, masked."""

    before: str
    after: str
    patch: list[Operation]


class ResourcesChange(TypedDict):
    """The limits that an `update` asked for, and what policies changed of them."""

    asked: dict[str, Any]
    patch: list[Operation]


class Told(TypedDict):
    """What an engine said of a container's image when policies asked."""

    image: str
    labels: dict[str, str]


class Line(TypedDict):
    """One call."""

    format: int
    id: str
    time: str
    """RFC 3339, UTC, to the microsecond."""
    runtime: Program
    profile: str
    delegate: str
    """The path of the runtime that ran the container instead of hookrun's own core, "" for none."""
    pid: int
    caller: Caller
    engine: str
    cold: NotRequired[str]
    """Why the call started cold, "" where it did not."""
    argv: list[str]
    command: str
    globals: dict[str, Any]
    options: dict[str, Any]
    arguments: list[str]
    container: str
    name: NotRequired[str]
    bundle: str | None
    process: dict[str, Any] | None
    """What `exec` runs."""
    decisions: list[Decision]
    resources: NotRequired[ResourcesChange | None]
    told: NotRequired[Told | None]
    hooks: list[InjectedHook]
    sources: NotRequired[dict[str, dict[str, Any]]]
    """What was found at the mounts' sources (`policies.sources`)."""
    lands: NotRequired[dict[str, str]]
    criu: NotRequired[dict[str, int]]
    hook_results: list[HookResult]
    harm: NotRequired[dict[str, int]]
    config: ConfigChange | None
    phases: list[tuple[str, float]]
    """Names with milliseconds, in their order."""
    milliseconds: float
    status: int | None
    """The exit status; None where another runtime went on in hookrun's process."""
    error: str
