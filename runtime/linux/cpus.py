"""Lists of CPUs and NUMA nodes, as cpuset(7) writes them."""

from __future__ import annotations

from hookrun.runtime.errors import Failure

_HIGHEST_CPU = 65536


def parse_cpus(text: str, field: str) -> set[int]:
    """The numbers of a config's list, of which there must be some. Raises Failure, which names the `field`."""
    try:
        numbers = numbers_of(text)
    except ValueError as error:
        raise Failure(f"{field}: {error}") from None
    if not numbers:
        raise Failure(f"{field}: no members found in set {text!r}")
    return numbers


def numbers_of(text: str) -> set[int]:
    """The numbers that a list such as `0-3,5` stands for. Raises ValueError."""
    numbers: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, separator, last = part.partition("-")
        bounds = (first, last if separator else first)
        if not all(bound.isascii() and bound.isdigit() and int(bound) <= _HIGHEST_CPU for bound in bounds):
            raise ValueError(f"{part!r} is not a CPU number or a range of them")
        low, high = map(int, bounds)
        if low > high:
            raise ValueError(f"invalid range: {part}")
        numbers.update(range(low, high + 1))
    return numbers
