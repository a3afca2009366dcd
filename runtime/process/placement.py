"""What the kernel shows the process as its machine: personality and NUMA memory policy.

Sources: config-linux.md "Personality", "Memory Policy"; personality(2), set_mempolicy(2).
"""

from __future__ import annotations

from hookrun.runtime.documents import Linux
from hookrun.runtime.errors import failing
from hookrun.runtime.linux import attributes
from hookrun.runtime.spec.placement import DOMAINS, MODE_FLAGS, MODES, nodes_of


def apply(linux: Linux) -> None:
    """Set both for the calling process. Raises Failure."""
    personality = linux.get("personality")
    if personality:
        with failing("error setting personality"):
            attributes.set_personality(DOMAINS[personality["domain"]])
    policy = linux.get("memoryPolicy")
    if policy:
        mode = MODES[policy["mode"]]
        for flag in policy.get("flags") or ():
            mode |= MODE_FLAGS[flag]
        with failing("error setting memory policy"):
            attributes.set_memory_policy(mode, nodes_of(policy))
