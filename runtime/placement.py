"""What the kernel shows the process as its machine: personality and NUMA memory policy.

Sources: config-linux.md "Personality", "Memory Policy"; personality(2), set_mempolicy(2).
"""

from __future__ import annotations

from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import attributes
from hookrun.runtime.scheduling import parse_cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
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


def check(linux: dict[str, Any]) -> None:
    """Refuse values that runc refuses. Raises Failure."""
    personality = linux.get("personality")
    if personality:
        if personality.get("domain") not in _DOMAINS:
            raise Failure(f'invalid personality domain "{personality.get("domain") or ""}"')
        if personality.get("flags"):
            raise Failure("personality flags are not supported")
    policy = linux.get("memoryPolicy")
    if policy is not None:
        _check_memory_policy(policy)


def _check_memory_policy(policy: dict[str, Any]) -> None:
    mode = policy.get("mode") or ""
    if mode not in MODES:
        raise Failure(f'invalid memory policy mode "{mode}"')
    for flag in policy.get("flags") or ():
        if flag not in MODE_FLAGS:
            raise Failure(f'invalid memory policy flag "{flag}"')
    nodes = _nodes(policy)
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            raise Failure(f"memory policy mode requires 0 nodes but got {len(nodes)}")
    elif mode != "MPOL_PREFERRED" and not nodes:
        raise Failure("memory policy mode requires at least one node but got 0")


def _nodes(policy: dict[str, Any]) -> set[int]:
    text = policy.get("nodes") or ""
    try:
        return parse_cpus(text, "nodes") if text else set()
    except Failure as failure:
        raise Failure(f'invalid memory policy nodes "{text}": {failure.text}') from None


def apply(linux: dict[str, Any]) -> None:
    """Set both for the calling process. Raises Failure."""
    personality = linux.get("personality")
    if personality:
        try:
            attributes.set_personality(_DOMAINS[personality["domain"]])
        except OSError as error:
            raise Failure(f"error setting personality: {reason(error)}") from None
    policy = linux.get("memoryPolicy")
    if policy:
        mode = MODES[policy["mode"]]
        for flag in policy.get("flags") or ():
            mode |= MODE_FLAGS[flag]
        try:
            attributes.set_memory_policy(mode, _nodes(policy))
        except OSError as error:
            raise Failure(f"error setting memory policy: {reason(error)}") from None
