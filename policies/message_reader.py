"""Messages as people write them, made into those that `messages` renders."""

from __future__ import annotations

import dataclasses
import re

from hookrun.policies import match, reader
from hookrun.policies.document import Node, suggestion
from hookrun.policies.match import Subject
from hookrun.policies.messages import Message

_FIELD = re.compile(r"\$\$\{|\$\{(?P<name>[^{}]*)\}|\$\{")
_ESCAPED = "$${"
_KEYED = ("label", "annotation")


def read(node: Node) -> Message:
    """A message: one line, with `${…}` for a value of the call and `$${` for that text itself. Raises Invalid."""
    text = " ".join(node.text().split())
    parts: list[str | Subject] = []
    end = 0
    for found in _FIELD.finditer(text):
        literal = text[end : found.start()] + ("${" if found[0] == _ESCAPED else "")
        end = found.end()
        parts += [literal] if literal else []
        if found[0] != _ESCAPED:
            parts.append(_subject(node, found["name"]))
    parts += [text[end:]] if text[end:] else []
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return tuple(parts)


def paths(node: Node) -> list[Node]:
    """The pointers in a message, each at the message's place."""
    names = (found["name"] for found in _FIELD.finditer(node.text()))
    return [dataclasses.replace(node, value=name) for name in names if name and name.startswith("/")]


def _subject(node: Node, name: str | None) -> Subject:
    if name is None:
        node.fail("`${` has no `}`: write `$${` for the text itself")
    if name.startswith("/"):
        return ("field", *reader.path(dataclasses.replace(node, value=name)))
    kind, _, key = name.partition(":")
    if kind in _KEYED and key:
        return (kind, key)
    if name not in match.FACTS:
        known = (*match.FACTS, "/a/path", "label:KEY", "annotation:KEY")
        node.fail(f"nothing is called ${{{name}}}{suggestion(name, known)}; write `$${{` for the text itself")
    return (name,)
