"""Rows that hookrun and runc must answer alike: a bundle that is changed, a script, what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.bundles import Bundle
from tests.support.runtimes import BY_SYSTEMD, Result, Runtime

Change = Callable[[Bundle], object]


# Debian's runc says this by systemd's driver on its way to the same end: the first is for --debug alone since 1.2, the
# second tells that systemd has removed the cgroup before runc has looked into it.
_SYSTEMDS = re.compile(r"level=warning msg=\"(skipping device .* for systemd: |unable to get oom kill count)")


def told(result: Result, *container_ids: str) -> list[str]:
    """A result without what differs from call to call: times and ids."""
    said = [line for line in result.err.splitlines() if not (BY_SYSTEMD and _SYSTEMDS.search(line))]
    lines = [f"status {result.status}", *result.out.splitlines(), *said]
    for container_id in container_ids:
        lines = [line.replace(container_id, "ID") for line in lines]
    return [re.sub(r'time="[^"]*"', "TIME", line) for line in lines]


def compare(bundle: Bundle, hookrun: Runtime, runc: Runtime, *options: str) -> list[str]:
    """Run the bundle with both runtimes; returns what both say, which must be the same."""
    bundle.write()
    seen = [told(runtime.run(bundle.path, *options)) for runtime in (runc, hookrun)]
    assert seen[1] == seen[0], f"hookrun: {seen[1]}\nrunc:    {seen[0]}"
    return seen[0]
