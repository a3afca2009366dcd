"""Where YAML 1.1, which Kubernetes' tools and most libraries read, takes a plain word for something else than YAML 1.2.

Policies are YAML 1.2. For `hookctl policy lint`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

_BASED = re.compile(r"[-+]?(0b[01_]+|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?)")
# All that can differ: numbers and the words for true and false. Dates are refused elsewhere, or meant.
_NEAR = re.compile(r"[-+.]*[0-9].*|y|n|yes|no|on|off", re.IGNORECASE)
_FLOAT_OF_1_2 = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?[0-9]+\.[0-9]*[eE][0-9]+")


def differences(file: str, text: str) -> list[str]:
    """A line for each plain scalar of a text that is YAML which the two versions take for different values."""
    try:
        documents = list(YAML(typ="rt").compose_all(text))
    except (YAMLError, RecursionError):
        return []
    found = []
    for scalar in (scalar for document in documents if document is not None for scalar in _scalars(document)):
        told = _told(scalar.value) if scalar.style is None and _NEAR.fullmatch(scalar.value) else ""
        if told:
            mark = scalar.start_mark
            found.append(f"{file}:{mark.line + 1}:{mark.column + 1}: {scalar.value} is {told}")
    return list(dict.fromkeys(found))


def _scalars(node: Any) -> Iterator[ScalarNode]:
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, SequenceNode):
        for one in node.value:
            yield from _scalars(one)
    elif isinstance(node, MappingNode):
        for pair in node.value:
            for one in pair:
                yield from _scalars(one)


@cache
def _told(text: str) -> str:
    """What each version takes a word for, "" where they agree."""
    older = text if _FLOAT_OF_1_2.fullmatch(text) else _value(text, 1)
    here = _value(text, 2)
    hint = "write it in quotes" if isinstance(here, str) else "write it in quotes, or as a plain decimal number"
    if _BASED.fullmatch(text):
        return f"{here!r} here and to YAML 1.1, but a string to strict readers of YAML 1.2: {hint}"
    if older == here:
        return ""
    return f"{_named(here)} here, in YAML 1.2, but {_named(older)} to YAML 1.1: {hint}"


def _value(text: str, minor: int) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, minor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ruamel.yaml has to say of the difference itself
        try:
            return yaml.load(f"- {text}\n")[0]
        except (YAMLError, ValueError):
            return text


def _named(value: Any) -> str:
    if isinstance(value, str):
        return f"the string {value!r}"
    return str(value).lower() if isinstance(value, bool) else repr(value)
