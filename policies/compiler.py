"""From YAML documents to the plan that the hot path judges by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonpatch
import jsonpointer

from hookrun.policies import (
    exception_reader,
    in_bundle,
    match,
    message_reader,
    messages,
    pointer,
    policy,
    reader,
    word_reader,
)
from hookrun.policies.decide import Plan
from hookrun.policies.document import Invalid, Node, read
from hookrun.policies.policy import Policy

API_VERSION = "hookrun/v1"
KIND = "Policy"
PRIORITY = 1000
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

_DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "tests")
_METADATA = ("name", "description", "breaks", "owner", "severity")
_SPEC = ("priority", "mode", "onError", "match", "exceptions", "deny", "patch", "merge", "hooks", *word_reader.WORDS)
_OPERATIONS = {
    "add": ("op", "path", "value"),
    "remove": ("op", "path"),
    "replace": ("op", "path", "value"),
    "move": ("op", "from", "path"),
    "copy": ("op", "from", "path"),
    "test": ("op", "path", "value"),
}
_COARSE = {"engine": 1, "command": 2}  # subjects that tell calls apart less than others do
_HOOK = ("path", "args", "env", "timeout")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True)
class Source:
    """A policy as written: its compiled form and what only people and tools read."""

    policy: Policy
    priority: int
    description: str
    breaks: str
    document: Node
    tests: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.policy.name


def load(text: str, file: str) -> list[Source]:
    """The policies of a YAML text, in its order. Raises Invalid for the first thing that is wrong."""
    sources, problems = examine(text, file)
    if problems:
        raise problems[0]
    return sources


def examine(text: str, file: str) -> tuple[list[Source], list[Invalid]]:
    """The policies of a YAML text that can be compiled, and all that is wrong with it."""
    problems: list[Invalid] = []
    try:
        documents = read(file, text)
    except Invalid as problem:
        return [], [problem]
    sources = []
    for document in documents:
        compilation = _Compilation(document)
        source = compilation.source()
        problems += compilation.problems
        if source is not None and not compilation.problems:
            sources.append(source)
    return sources, sorted(problems, key=lambda problem: problem.place)


def ordered(sources: list[Source]) -> list[Source]:
    """The policies in the order in which they judge. Raises Invalid if two have one name."""
    places: dict[str, Policy] = {}
    for source in sources:
        other = places.get(source.name)
        one = source.policy
        if other is not None:
            raise Invalid(f"{one.file}:{one.line}:1: policy {one.name!r} already exists, at {other.file}:{other.line}")
        places[source.name] = one
    return sorted(sources, key=lambda source: (source.priority, source.name))


def plan(sources: list[Source]) -> Plan:
    """The plan for `decide.decide`. Raises Invalid if two policies have one name."""
    active = [source.policy for source in ordered(sources) if source.policy.mode != policy.OFF]
    always: list[int] = []
    index: dict[tuple[Any, ...], dict[Any, list[int]]] = {}
    for number, one in enumerate(active):
        subject, values = _wanted(one.match)
        if subject is None:
            always.append(number)
        for value in values:
            index.setdefault(subject or (), {}).setdefault(value, []).append(number)
    return {
        "policies": [one.packed() for one in active],
        "always": always,
        "index": list(index.items()),
        "asks": sorted({fact for one in active for fact in asked_by(one)}),
    }


def asked_by(one: Policy) -> set[str]:
    """The facts beside the config that a policy wants to know: "image", "label", "mask", and the host's namespaces."""
    conditions = [one.match, *(condition for condition, *_ in (*one.denials, *one.exceptions))]
    subjects = {subject[0] for condition in conditions if condition for subject in match.subjects(condition)}
    told = {subject[0] for message in _messages(one) for subject in messages.subjects(message)}
    subjects |= told
    found = {name for name, _ in one.checks if name == word_reader.HOST_NAMESPACES}
    if "image" in subjects:
        found.add("image")
    if subjects & {"label", "labelLike"}:
        found.add("label")
    if told:
        found.add("mask")
    return found


def _messages(one: Policy) -> Iterator[messages.Message]:
    """What a policy may tell the user."""
    yield from (message for _, message in one.denials)
    for name, argument in one.checks:
        if name == "devices.allow":
            yield argument[1]
        elif name in ("mounts.forbid", "devices.forbid"):
            yield from (message for _, message in argument)


def untold(source: Source) -> list[str]:
    """Lines on what a policy asks that engines which it is for can't tell."""
    found = []
    engines = _engines(source.policy.match)
    for fact, tellers in (("image", match.TELL_IMAGES), ("label", match.TELL_LABELS)):
        if fact not in asked_by(source.policy) or (engines and engines <= set(tellers)):
            continue
        others = ", ".join(sorted(engines - set(tellers))) if engines else "other engines"
        place = f"{source.policy.file}:{source.policy.line}:1: policy {source.name}"
        found.append(f"{place}: {', '.join(tellers)} tell the {fact}: under {others} a container has none")
    return found


def _engines(condition: tuple[Any, ...] | None) -> set[Any]:
    """The engines one of which has to call for the condition to hold; empty where any may."""
    parts = condition[1] if condition and condition[0] == "all" else (condition,) if condition else ()
    return next((_values(part[2]) for part in parts if part[0] == "is" and part[1] == ("engine",)), set())


def _wanted(condition: tuple[Any, ...] | None) -> tuple[tuple[Any, ...] | None, set[Any]]:
    """A subject and the values one of which it must have for the condition to hold; (None, …) if there is none.

    Of several such subjects, the one that rules out most calls: a condition on the command hardly rules out any.
    """
    parts = condition[1] if condition and condition[0] == "all" else (condition,) if condition else ()
    found = []
    for part in parts:
        if part[0] == "is" and not _is_of_source(part[1]):
            values = _values(part[2])
            if values:
                found.append((part[1], values))
    if not found:
        return None, set()
    return min(found, key=lambda one: (_COARSE.get(one[0][0], 0), len(one[1])))


def _is_of_source(subject: tuple[Any, ...]) -> bool:
    """Whether a condition is on what is judged by what it is, not by how it is spelled."""
    return subject[0] == "field" and (len(subject) < 2 or subject[1] in ("mounts", "root", pointer.ANY))


def _values(tests: tuple[tuple[str, Any], ...]) -> set[Any]:
    for name, operand in tests:
        values = operand if name == "in" else (operand,) if name == "equals" else ()
        if values and all(isinstance(value, str | int | float) for value in values):
            return set(values)
    return set()


class _Compilation:
    """One document on its way; what is wrong is collected, so that `lint` can show all of it."""

    def __init__(self, document: Node) -> None:
        self._document = document
        self.problems: list[Invalid] = []

    def source(self) -> Source | None:
        members = self._try(lambda: self._document.members(_DOCUMENT)) or {}
        self._try(lambda: _expect(self._document, members, "apiVersion", API_VERSION))
        self._try(lambda: _expect(self._document, members, "kind", KIND))
        metadata_node = self._try(lambda: _required(self._document, members, "metadata"))
        metadata = self._known(metadata_node, _METADATA) if metadata_node else {}
        name = self._try(lambda: _name(metadata_node, metadata)) if metadata_node else None
        spec_node = self._try(lambda: _required(self._document, members, "spec"))
        spec = self._known(spec_node, _SPEC) if spec_node else {}
        words = [self._try(lambda w=word: word_reader.WORDS[w](spec[w])) for word in spec if word in word_reader.WORDS]
        checks = tuple(check for word in words if word for check in word.checks)
        changes = tuple(change for word in words if word for change in word.changes)
        one = Policy(
            name or "",
            self._of(spec, "mode", lambda node: node.word_of((policy.ENFORCE, policy.AUDIT, policy.OFF)), "enforce"),
            self._of(spec, "onError", lambda node: node.word_of((policy.DENY, policy.ALLOW)), policy.DENY),
            self._document.file,
            self._document.line,
            self._of(spec, "match", reader.condition, None),
            self._of(spec, "deny", _denials, ()),
            checks,
            changes,
            self._of(spec, "patch", _operations, ()),
            self._of(spec, "merge", _merge, None),
            self._of(spec, "hooks", _hooks, ()),
            skips_updates=False,
            exceptions=self._of(spec, "exceptions", exception_reader.read, ()),
            owner=self._of(metadata, "owner", _line, ""),
            severity=self._of(metadata, "severity", lambda node: node.word_of(policy.SEVERITIES), ""),
        )
        one.skips_updates = not (_names_commands(one) or _is_about_resources(one))
        texts = {key: self._of(metadata, key, Node.text, "") for key in ("description", "breaks")}
        tests = self._of(members, "tests", Node.elements, [])
        priority = self._of(spec, "priority", Node.whole_number, PRIORITY)
        return Source(one, priority, texts["description"], texts["breaks"], self._document, tests) if name else None

    def _known(self, node: Node, names: tuple[str, ...]) -> dict[str, Node]:
        """A mapping's members: a name that is not known hides nothing of what else is wrong."""
        found = self._try(lambda: node.members(names))
        return found if found is not None else self._try(node.members) or {}

    def _of(self, members: dict[str, Node], name: str, convert: Any, default: Any) -> Any:
        if name not in members:
            return default
        found = self._try(lambda: convert(members[name]))
        return default if found is None else found

    def _try(self, step: Any) -> Any:
        try:
            return step()
        except Invalid as problem:
            self.problems.append(problem)
            return None


def _names_commands(one: Policy) -> bool:
    return one.match is not None and ("command",) in match.subjects(one.match)


def _is_about_resources(one: Policy) -> bool:
    """Whether anything in a policy looks at /linux/resources or changes it."""
    words = [name for name, _ in (*one.checks, *one.changes)]
    denied = {subject for condition, _ in one.denials if condition for subject in match.subjects(condition)}
    paths = [subject[1:] for subject in denied if subject[0] == "field"]
    paths += [tokens for _, *both, _ in one.patch for tokens in both if tokens]
    return (
        any(name.partition(".")[0] in word_reader.OF_RESOURCES for name in words)
        or any(_meets_resources(tokens) for tokens in paths)
        or "resources" in ((one.merge or {}).get("linux") or {})
    )


def _meets_resources(tokens: tuple[str, ...]) -> bool:
    return all(token in (name, "*") for token, name in zip(tokens, ("linux", "resources"), strict=False))


def _required(document: Node, members: dict[str, Node], name: str) -> Node:
    if name not in members:
        document.fail(f"{name} is missing")
    return members[name]


def _expect(document: Node, members: dict[str, Node], name: str, value: str) -> None:
    node = _required(document, members, name)
    if node.value != value:
        node.fail(f"it must be {value}, not {node.value!r}")


def _name(node: Node, metadata: dict[str, Node]) -> str:
    node = _required(node, metadata, "name")
    if not _NAME.fullmatch(node.text()):
        node.fail("it must be made of lower-case letters, digits, '-' and '.'")
    return node.text()


def _line(node: Node) -> str:
    """A text in one line."""
    return " ".join(node.text().split())


def _denials(node: Node) -> tuple[Any, ...]:
    return tuple(_denial(element) for element in node.elements())


def _denial(node: Node) -> tuple[Any, messages.Message]:
    members = node.members(("when", "message"))
    if "message" not in members:
        node.fail("message is missing: what should the user be told?")
    return (reader.condition(members["when"]) if "when" in members else None, message_reader.read(members["message"]))


def _operations(node: Node) -> tuple[Any, ...]:
    return tuple(_operation(element) for element in node.elements())


def _operation(node: Node) -> tuple[Any, ...]:
    """One operation of RFC 6902; jsonpatch says whether it is one."""
    op = _required(node, node.members(), "op").word_of(_OPERATIONS)
    members = node.members(_OPERATIONS[op])
    for name in _OPERATIONS[op]:
        _required(node, members, name)
    target = reader.path(members["path"])
    source = reader.path(members["from"]) if "from" in members else ()
    try:
        jsonpatch.JsonPatch([node.value])
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        node.fail(str(error))
    value = members["value"].value if "value" in members else None
    if not target:
        members["path"].fail("it must lead into the config, not replace it")
    return (op, target, source, value)


def _merge(node: Node) -> dict[str, Any]:
    node.members()
    found: dict[str, Any] = node.value
    return found


def _hooks(node: Node) -> tuple[Any, ...]:
    return tuple(
        (stage, _hook(hook), hook.line) for stage, hooks in node.members(STAGES).items() for hook in hooks.elements()
    )


def _hook(node: Node) -> dict[str, Any]:
    """A hook of the runtime-spec (config.md, "POSIX-platform Hooks")."""
    members = node.members(_HOOK)
    path = in_bundle.absolute(_required(node, members, "path"))
    if not path.startswith("/"):
        members["path"].fail("it must be absolute: a relative one would be looked for wherever the engine runs hookrun")
    for name in ("args", "env"):
        if name in members:
            for element in members[name].elements():
                element.text()
    if "timeout" in members and members["timeout"].whole_number() <= 0:
        members["timeout"].fail("it must be greater than zero")
    return {**node.value, "path": path}


def read_file(path: Path) -> str:
    """A policy file's text. Raises Invalid, OSError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}:1:1: byte {error.start} is not UTF-8") from None
