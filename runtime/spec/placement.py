"""What a config may say of personality and NUMA memory policy (config-linux.md "Personality", "Memory Policy")."""

from __future__ import annotations

from collections.abc import Iterator

from hookrun.runtime.documents import Linux, MemoryPolicy
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux.cpus import parse_cpus

DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MODE_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


def check(linux: Linux) -> None:
    """Refuse values that runc refuses. Raises Failure."""
    personality = linux.get("personality")
    if personality is not None and personality.get("domain") not in DOMAINS:
        raise Failure(f'invalid personality domain "{personality.get("domain") or ""}"')
    policy = linux.get("memoryPolicy")
    if policy is not None:
        _check_memory_policy(policy)


def warnings(linux: Linux) -> Iterator[str]:
    """What is ignored, in runc's words."""
    flags = (linux.get("personality") or {}).get("flags")
    if flags:
        yield (
            f"ignoring unsupported personality flags: [{' '.join(flags)}] "
            "because personality flag has not supported at this time"
        )


def _check_memory_policy(policy: MemoryPolicy) -> None:
    mode = policy.get("mode") or ""
    if mode not in MODES:
        raise Failure(f'invalid memory policy mode "{mode}"')
    for flag in policy.get("flags") or ():
        if flag not in MODE_FLAGS:
            raise Failure(f'invalid memory policy flag "{flag}"')
    nodes = nodes_of(policy)
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            raise Failure(f"memory policy mode requires 0 nodes but got {len(nodes)}")
    elif mode != "MPOL_PREFERRED" and not nodes:
        raise Failure("memory policy mode requires at least one node but got 0")


def nodes_of(policy: MemoryPolicy) -> set[int]:
    """The nodes of a memory policy. Raises Failure."""
    text = policy.get("nodes") or ""
    try:
        return parse_cpus(text, "nodes") if text else set()
    except Failure as failure:
        raise Failure(f'invalid memory policy nodes "{text}": {failure.text}') from None
