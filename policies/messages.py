"""Messages with values of the call in them: `${/process/user/uid}`, `${image}`.

A message is a text, or a tuple of its parts: texts, and subjects as `match` has them, which are tuples. The values are
what whoever starts the container wrote: they are masked as in the record, cut, and cannot end a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hookrun.policies.match import Subject, View
from hookrun.policies.pointer import ABSENT, reach, written

Message = str | tuple[str | Subject, ...]

_NONE = "(none)"
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_SHOWN = 4  # values of a path with `*`
_LONGEST = 120  # characters of a value


def rendered(message: Message, config: dict[str, Any], invocation: dict[str, Any]) -> str:
    """A message as people get to see it, in one line.

    `invocation["mask"]`, if it is there, gives what masks: a config by its `config`, what was said by its `text`.
    """
    if isinstance(message, str):
        return harmless(message)
    mask = invocation["mask"]() if "mask" in invocation else None
    if mask:
        labels = mask.config({"annotations": invocation["labels"]})["annotations"]
        config, invocation = mask.config(config), {**invocation, "labels": labels}
    view = View(config, invocation)
    return "".join(harmless(part) if isinstance(part, str) else _told(part, view, mask) for part in message)


def source(message: Message) -> str:
    """A message as it is written in a policy."""
    if isinstance(message, str):
        return message.replace("${", "$${")
    return "".join(source(part) if isinstance(part, str) else f"${{{_name(part)}}}" for part in message)


def subjects(message: Message) -> Iterator[Subject]:
    """What a message tells of the call."""
    if not isinstance(message, str):
        yield from (part for part in message if not isinstance(part, str))


def _name(subject: Subject) -> str:
    return written(subject[1:]) if subject[0] == "field" else ":".join(subject)


def _told(subject: Subject, view: View, mask: Any) -> str:
    """The values of a subject; a source as the config spells it, which is what its author knows."""
    values = reach(view.config, subject[1:]) if subject[0] == "field" else view.values(subject)
    texts = [_text(value, mask) for value in values[:_SHOWN]]
    more = len(values) - _SHOWN
    return (", ".join(texts) or _NONE) + (f" and {more} more" if more > 0 else "")


def _text(value: Any, mask: Any) -> str:
    if value is ABSENT or value is None:
        return _NONE
    text = value if isinstance(value, str) else _json(value)
    if mask:
        text = mask.text(text)
    return harmless(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def harmless(text: str) -> str:
    """A text without control characters and other surprises for terminals and logs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return _SHORT.get(character) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
