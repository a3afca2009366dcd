"""Sizes as Kubernetes writes them (apimachinery, resource.Quantity): 1Gi, 512M, 100k; K is taken for k."""

from __future__ import annotations

import re
from fractions import Fraction

from hookrun.policies.document import Node

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKMGTPE]|[KMGTPE]i)?")
_ALMOST = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kmgtpe]i?)b?", re.IGNORECASE)
_POWERS = {letter: power for power, letter in enumerate("KMGTPE", 1)}


def size(node: Node) -> int:
    """A number of bytes, as a number or a text. Raises Invalid."""
    if isinstance(node.value, int):
        return node.whole_number()
    found = _SIZE.fullmatch(node.text())
    if found is None:
        node.fail(f"it must be a size: 512Mi, 1G or a number of bytes{_suggestion(node.text())}")
    bytes_ = Fraction(found[1]) * _factor(found[2] or "")
    if bytes_.denominator != 1:
        node.fail(f"{node.value} is not a whole number of bytes")
    return int(bytes_)


def is_text(node: Node) -> bool:
    """Whether a value looks as if a size were meant: a text that begins with a digit."""
    return isinstance(node.value, str) and node.value[:1].isdigit()


def _factor(unit: str) -> int:
    base = 1024 if unit.endswith("i") else 1000
    return base ** _POWERS[unit[0].upper()] if unit else 1


def _suggestion(text: str) -> str:
    almost = _ALMOST.fullmatch(text)
    if almost is None:
        return ""
    hint = "; m is a thousandth to Kubernetes" if almost[2] == "m" else ""
    return f"{hint}; did you mean '{almost[1]}{almost[2][0].upper()}{almost[2][1:].lower()}'?"
