"""Conditions as people write them, made into those that `match` judges by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hookrun.policies import conditions, document, expressions, match, mounts, pointer, quantities
from hookrun.policies.document import Node

_TREES = ("all", "any", "none")
_KEYED = ("annotation", "label")
_OPERATORS = (*conditions.OPERATORS, *conditions.NEGATIONS)
_SUBJECTS = (*match.FACTS, *_KEYED, "annotations", "labels", "field", "mount")

_LARGEST_FILE = 1 << 20  # bytes: each call looks through the list

Condition = tuple[Any, ...]
Test = tuple[str, Any]


def condition(node: Node) -> Condition:
    """A condition: a mapping of all, any, none; or of one subject with its operators; or a list, which means all.

    Raises Invalid.
    """
    if isinstance(node.value, list):
        return _joined("all", [condition(part) for part in node.elements()])
    members = node.members((*_TREES, *_SUBJECTS, *_OPERATORS))
    if not members:
        node.fail("it is empty: leave it out if it is for every container")
    trees = [_tree(name, part) for name, part in members.items() if name in _TREES]
    rest = {name: part for name, part in members.items() if name not in _TREES}
    return _joined("all", trees + (_subject(node, rest) if rest else []))


def _tree(kind: str, node: Node) -> Condition:
    parts = [condition(part) for part in node.one_or_more()]
    if not parts:
        node.fail("it must hold a condition")
    return _joined(kind, parts)


def _joined(kind: str, parts: list[Condition]) -> Condition:
    return parts[0] if kind != "none" and len(parts) == 1 else (kind, tuple(parts))


def _subject(node: Node, members: dict[str, Node]) -> list[Condition]:
    """A condition on one subject, or on several, all of which must be so; the operators are the keyed one's."""
    subjects = [name for name in members if name in _SUBJECTS]
    operators = {name: part for name, part in members.items() if name in _OPERATORS}
    if not subjects:
        node.fail(f"it says what is tested but not of what: add one of {', '.join(_SUBJECTS)}")
    keyed = [name for name in subjects if name in (*_KEYED, "field")]
    if operators and len(keyed) > 1:
        first = next(iter(operators.values()))
        first.fail(f"it may belong to {' or to '.join(keyed)}: put them into two conditions, under `all`")
    if operators and not keyed:
        first = next(iter(operators.values()))
        first.fail(f"it belongs inside: `{subjects[0]}: {{{next(iter(operators))}: …}}`")
    found: list[Condition] = []
    for name in subjects:
        if name in keyed:
            found.append(_keyed_condition(name, members[name], operators))
        elif name == "mount":
            found.append(("mount", selector(members[name], members[name].members(mounts.FIELDS))))
        elif name in ("annotations", "labels"):
            found += [("is", (name[:-1], key), expected(part)) for key, part in members[name].members().items()]
        else:
            found.append(("is", (name,), expected(members[name])))
    return found


def selector(
    node: Node, members: dict[str, Node], names: tuple[str, ...] = mounts.FIELDS
) -> tuple[tuple[str, tuple[Test, ...]], ...]:
    """What a mount or, with its `names`, a device must be like; `members` are those of the node that say it.

    See `mounts` and `devices`. Raises Invalid.
    """
    if not members:
        node.fail(f"it must have one of {', '.join(names)}")
    return tuple((name, expected(part)) for name, part in members.items())


def _keyed_condition(kind: str, node: Node, operators: dict[str, Node]) -> Condition:
    return ("is", _keyed_subject(kind, node), tests(operators) or (("exists", True),))


def _keyed_subject(kind: str, node: Node) -> tuple[Any, ...]:
    """A field's path; or the key of an annotation or label, which is a regular expression for the whole of it."""
    text = node.text()
    if kind == "field":
        return ("field", *path(node))
    plain = expressions.literal(text)
    return (kind, plain) if plain is not None else (f"{kind}Like", expressions.compiled(node))


def path(node: Node) -> tuple[str, ...]:
    """The tokens of a JSON pointer. Raises Invalid."""
    try:
        return pointer.parsed(node.text())
    except ValueError as error:
        node.fail(str(error))


def expected(node: Node) -> tuple[Test, ...]:
    """What a value shall be: one value, a list of allowed ones, or a mapping of operators. Raises Invalid."""
    if isinstance(node.value, dict):
        if not node.value:
            node.fail("it is empty")
        return tests(node.members(_OPERATORS))
    if isinstance(node.value, list):
        return (("in", tuple(node.value)),)
    return (("equals", node.value),)


def tests(members: dict[str, Node]) -> tuple[Test, ...]:
    return tuple((name, _operand(name, node)) for name, node in members.items())


def _operand(name: str, node: Node) -> Any:
    kind = name[3:4].lower() + name[4:] if name in conditions.NEGATIONS else name
    if kind == "matches":
        return expressions.compiled(node)
    if kind == "in":
        return tuple(element.value for element in listed(node))
    if kind == "exists":
        return node.flag()
    if kind == "startsWith":
        return node.text()
    if kind in ("less", "greater"):
        return quantities.size(node) if quantities.is_text(node) else node.number()
    if kind == "contains" and isinstance(node.value, dict | list):
        node.fail("it must be a single value")
    return node.value


def listed(node: Node) -> list[Node]:
    """The values that `in` and `notIn` compare with: a list, or `{file: PATH}`, whose file is a list in YAML.

    A relative path begins at the policy's directory. Raises Invalid.
    """
    if not isinstance(node.value, dict):
        return node.elements()
    members = node.members(("file",))
    if "file" not in members:
        node.fail("file is missing: it must be a list, or {file: PATH}")
    path = os.path.normpath(Path(node.file).parent / members["file"].text())
    if path not in node.files:
        node.files[path] = _text_of(members["file"], path)
    documents = document.read(path, node.files[path])
    if len(documents) != 1:
        text = "it must be one list: `- VALUE` in each line, or []"
        raise document.Invalid(f"{path}:1:1: {text}", (node.line, node.column))
    values = documents[0].elements()
    for value in values:
        if value.value is None or isinstance(value.value, dict | list):
            value.fail("it must be a single value")
    return values


def _text_of(node: Node, path: str) -> str:
    """The text of a file that a node names. Raises Invalid."""
    try:
        if not os.path.isfile(path):
            node.fail(f"{path} is not a file" if os.path.exists(path) else f"there is no file {path}")
        if os.path.getsize(path) > _LARGEST_FILE:
            node.fail(f"{path} is larger than {_LARGEST_FILE >> 20} MiB")
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        node.fail(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError as error:
        node.fail(f"{path} is not UTF-8 at byte {error.start}")
