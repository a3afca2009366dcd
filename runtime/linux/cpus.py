"""Lists of CPUs and NUMA nodes, as cpuset(7) writes them."""

from __future__ import annotations

from hookrun.runtime.errors import Failure

_HIGHEST_CPU = 65536


def parse_cpus(text: str, field: str) -> set[int]:
    """A list as `0-3,5` in the form of cpuset(7). Raises Failure."""
    numbers: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, separator, last = part.partition("-")
        bounds = (first, last if separator else first)
        if not all(bound.isascii() and bound.isdigit() and int(bound) <= _HIGHEST_CPU for bound in bounds):
            raise Failure(f"{field}: {part!r} is no CPU number or range of them")
        low, high = map(int, bounds)
        if low > high:
            raise Failure(f"{field}: invalid range: {part}")
        numbers.update(range(low, high + 1))
    if not numbers:
        raise Failure(f"{field}: no members found in set {text!r}")
    return numbers
