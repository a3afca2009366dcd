"""What a policy can say by its form and can't mean: names that nobody has, paths that no config has.

`lint` tells of it. A call is judged all the same: an engine or a field may be newer than what is known here.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jsonschema

from hookrun.policies import exception_lint, in_bundle, message_reader, pointer, quantities, reader, testing, validation
from hookrun.policies.compiler import Source
from hookrun.policies.document import Invalid, Node, suggestion

ENGINES = ("docker", "containerd", "kubernetes", "podman", "cri-o", "buildkit", "buildah", "ctr", "nerdctl")
COMMANDS = ("create", "run", "restore", "exec", "update")
_CAPABILITIES = (  # capabilities(7)
    *("AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN"),
    *("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE"),
    *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST"),
    *("NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT"),
    *("SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"),
    *("SYS_TTY_CONFIG", "WAKE_ALARM", "ALL"),
)
_TREES = ("all", "any", "none")
_LISTS = ("in", "notIn")
_COMPARISONS = ("equals", "notEquals", *_LISTS)
_ORDERINGS = ("less", "greater", "notLess", "notGreater")
_OF_TEXTS = ("matches", "startsWith", "notMatches", "notStartsWith")
_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
# Fields in bytes; rlimits are, or count files and processes.
_BYTES = re.compile(
    r"/linux/resources/(memory/(limit|reservation|swap|kernel|kernelTCP)|hugepageLimits/[^/]+/limit"
    r"|blockIO/throttle(Read|Write)BpsDevice/[^/]+/rate)"
)
_LIMITS = re.compile(r"/process/rlimits/[^/]+/(soft|hard)")
_PAGE = 4096
_IN_ROOTFS = "startContainer"

Schema = dict[str, Any]


def findings(source: Source) -> list[Invalid]:
    """What is hardly meant in a policy that compiles, in the order of its text."""
    found = [finding for check in _checks(source) if (finding := _result(check))]
    return sorted(found, key=lambda finding: finding.place)


def _result(check: Callable[[], object]) -> Invalid | None:
    try:
        check()
    except Invalid as finding:
        return finding
    return None


def _checks(source: Source) -> Iterator[Callable[[], object]]:
    """Every check on a policy's document; each raises Invalid for what it finds."""
    spec = source.document.members()["spec"].members()
    for condition in _conditions(spec):
        yield from _of_condition(condition)
    for rule in _rules(spec):
        yield from _of_message(rule)
    yield from exception_lint.checks(source)
    yield from _of_words(spec)
    yield from (partial(testing.check_form, test) for test in source.tests)


def _conditions(spec: dict[str, Node]) -> Iterator[Node]:
    """Wherever a policy says for which calls something holds."""
    places = [("match", spec)]
    places += [("match", exception.members()) for exception in _elements(spec, "exceptions")]
    places += [("when", denial.members()) for denial in _elements(spec, "deny")]
    return (members[name] for name, members in places if name in members)


def _of_words(spec: dict[str, Node]) -> Iterator[Callable[[], object]]:
    """The words that change a config."""
    for operation in _elements(spec, "patch"):
        paths = [part for name, part in operation.members().items() if name in ("path", "from")]
        yield from (partial(_schemas_at, path) for path in paths)
    for names in _members(spec, "capabilities").values():
        yield from (partial(_check_capability, name) for name in names.one_or_more())
    for profile in _members(spec, "seccomp").values():
        yield partial(_check_seccomp, profile)
    for stage, hooks in _members(spec, "hooks").items():
        if stage != _IN_ROOTFS:
            yield from (partial(_check_program, hook.members()["path"]) for hook in hooks.elements())


def _elements(members: dict[str, Node], name: str) -> list[Node]:
    return members[name].elements() if name in members else []


def _members(members: dict[str, Node], name: str) -> dict[str, Node]:
    return members[name].members() if name in members else {}


def _rules(spec: dict[str, Node]) -> Iterator[Node]:
    """The places that may have a message."""
    yield from _elements(spec, "deny")
    if "devices" in spec:
        yield spec["devices"]
    for word in ("mounts", "devices"):
        yield from _elements(_members(spec, word), "forbid")


def _of_message(node: Node) -> Iterator[Callable[[], object]]:
    members = node.members()
    if "message" in members:
        yield from (partial(_schemas_at, path) for path in message_reader.paths(members["message"]))


def _of_condition(node: Node) -> Iterator[Callable[[], object]]:
    if isinstance(node.value, list):
        for part in node.elements():
            yield from _of_condition(part)
        return
    members = node.members()
    for name in _TREES:
        for part in members[name].one_or_more() if name in members else ():
            yield from _of_condition(part)
    for name, check in (("engine", _check_engine), ("command", _check_command)):
        if name in members:
            yield from (partial(check, value) for value in _values(members[name]))
    if "field" in members:
        yield partial(_check_field, members)


def _values(node: Node) -> list[Node]:
    """The values that a fact is compared with."""
    if not isinstance(node.value, dict):
        return node.one_or_more()
    parts = ((name, part) for name, part in node.members().items() if name in _COMPARISONS)
    return [value for name, part in parts for value in _compared(name, part)]


def _compared(operator: str, node: Node) -> list[Node]:
    return reader.listed(node) if operator in _LISTS else node.one_or_more()


def _check_engine(node: Node) -> None:
    """An engine may be any program; one that is spelled almost like a known one is hardly meant."""
    if node.value not in ENGINES and difflib.get_close_matches(str(node.value), ENGINES, 1):
        node.fail(f"unknown engine {node.value!r}{suggestion(str(node.value), ENGINES)}")


def _check_command(node: Node) -> None:
    if node.value not in COMMANDS:
        node.fail(f"policies do not judge the command {node.value!r}{suggestion(str(node.value), COMMANDS)}")


def _check_capability(node: Node) -> None:
    name = node.text().upper().removeprefix("CAP_")
    if name not in _CAPABILITIES:
        node.fail(f"unknown capability {node.value!r}{suggestion(name, _CAPABILITIES)}")


def _check_program(node: Node) -> None:
    if not os.path.exists(in_bundle.absolute(node)):
        node.fail(f"there is no file {node.value} on this host")


def _check_seccomp(node: Node) -> None:
    if isinstance(node.value, dict):
        schema = {**_schema(), **_schema()["$defs"]["seccomp"]}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(node.value):
            place = "/".join(map(str, error.absolute_path))
            node.fail(f"{place}: {error.message}" if place else error.message)


def _check_field(members: dict[str, Node]) -> None:
    schemas = _schemas_at(members["field"])
    types = {kind for schema in schemas for kind in _types(schema)}
    if not types:
        return
    for name, part in members.items():
        if name in _OF_TEXTS and "string" not in types:
            part.fail(f"{members['field'].value} is not a string: it is {_told(types)}")
        if name in _ORDERINGS:
            _check_ordering(members["field"], part, types, schemas)
        for value in _compared(name, part) if name in _COMPARISONS else ():
            if not any(_is_of(value.value, kind) for kind in types):
                value.fail(f"{members['field'].value} is {_told(types)}, and never {value.value!r}")


def _check_ordering(field: Node, operand: Node, types: set[str], schemas: list[Schema]) -> None:
    """Refuse a bound that no value of the field is on the other side of, or that is in another unit."""
    if not types & {"integer", "number"}:
        operand.fail(f"{field.value} is {_told(types)}: it is neither less nor greater")
    bound = quantities.size(operand) if quantities.is_text(operand) else operand.number()
    counts_bytes = _BYTES.fullmatch(field.text())
    if quantities.is_text(operand) and not counts_bytes and not _LIMITS.fullmatch(field.text()):
        operand.fail(f"{field.value} does not count bytes: write a plain number")
    if counts_bytes and not quantities.is_text(operand) and 0 < bound < _PAGE:
        operand.fail(f"{operand.value} is a number of bytes: write a unit, as in {operand.value}Mi")
    for schema in schemas:
        least, most = schema.get("minimum", bound), schema.get("maximum", bound)
        if not least <= bound <= most:
            operand.fail(f"{field.value} is from {least} to {most}, and never {operand.value}")


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _told(types: set[str]) -> str:
    return " or ".join(f"{'an' if kind[0] in 'aio' else 'a'} {kind}" for kind in sorted(types))


def _is_of(value: Any, kind: str) -> bool:
    if kind not in _TYPES or value is None:
        return True
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


@cache
def _schema() -> Schema:
    found: Schema = json.loads(validation.SCHEMA.read_text(encoding="utf-8"))
    return found


def _schemas_at(node: Node) -> list[Schema]:
    """What the OCI schema says of a path's value; [] for what it leaves open. Raises Invalid for a path it has not."""
    schemas = [_resolved(_schema())]
    for token in pointer.parsed(node.text()):
        below, names = [], set()
        for schema in schemas:
            inner = _below(schema, token)
            if inner is None:
                return []
            below += [_resolved(one) for one in inner]
            names |= schema.get("properties", {}).keys()
        if not below:
            node.fail(f"config.json has no {token!r} there{suggestion(token, names)}")
        schemas = below
    return schemas


def _resolved(schema: Schema) -> Schema:
    """A schema with what it refers to in it."""
    parts = [*schema.get("allOf", ())]
    if "$ref" in schema:
        parts.append(_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    found = dict(schema)
    for part in map(_resolved, parts):
        found = {**part, **found, "properties": {**part.get("properties", {}), **found.get("properties", {})}}
    return found


def _below(schema: Schema, token: str) -> list[Schema] | None:
    """The schemas of a member or an element, [] if there can be none, None if anything goes."""
    if "items" in schema:
        return [schema["items"]] if token in (pointer.ANY, "-") or token.isdecimal() else []
    properties = schema.get("properties", {})
    if token in properties:
        return [properties[token]]
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        return [others]
    if not properties:
        return None if "object" in _types(schema) or not _types(schema) else []
    return list(properties.values()) if token == pointer.ANY else []
