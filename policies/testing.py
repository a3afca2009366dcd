"""The tests that policy files carry: a config, who calls, and what shall come of it. The mode does not count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hookrun.policies import decide, exception_reader, in_bundle, match, messages, pointer, sources
from hookrun.policies.compiler import Source
from hookrun.policies.document import Invalid, Node

_TEST = ("name", "config", "invocation", "expect")
_FACTS = ("sources", "lands")
_INVOCATION = ("engine", "command", "runtime", "container", "labels", "image", "hostNamespaces", *_FACTS, "time")
_SOURCE = ("realPath", "names", "shows", "mountsBelow", "mayBeAnything", "devices", *sources.ATTRIBUTES)
_EXPECT = ("matched", "exempt", "denied", "error", "changed", "fields", "hooks")


@dataclass(frozen=True)
class Outcome:
    """How one test went; `problem` is "" if it passed, else what was expected and what came."""

    policy: str
    name: str
    place: str
    problem: str


def run(source: Source) -> list[Outcome]:
    """Run a policy's tests. A test that is no test has failed."""
    outcomes = []
    for number, node in enumerate(source.tests, 1):
        name = node.value.get("name") if isinstance(node.value, dict) else None
        try:
            problem = _problem(source, node)
        except Invalid as invalid:
            problem = invalid.text
        outcomes.append(Outcome(source.name, str(name or f"test {number}"), f"{node.file}:{node.line}", problem))
    return outcomes


def invocation(given: dict[str, Any] | None = None) -> dict[str, Any]:
    """A call as conditions see it, `create` by Docker unless something else is given."""
    known = {"engine": "docker", "command": "create", "runtime": "hookrun", "container": "test"}
    found = {**known, "labels": {}, "image": "", **(given or {})}
    found["host_namespaces"] = found.pop("hostNamespaces", None)
    found["look"] = sources.stated(found.pop("sources", {}))
    found["land"] = sources.landed(found.pop("lands", {}))
    found["is_whole"] = False
    return found


def _stated(node: Node) -> dict[str, Any]:
    """The call as a test states it. Raises Invalid for what the engine could not tell of it."""
    members = node.members(_INVOCATION)
    engine = members["engine"].value if "engine" in members else "docker"
    for name, tellers in (("image", match.TELL_IMAGES), ("labels", match.TELL_LABELS)):
        if name in members and engine not in tellers:
            members[name].fail(f"{engine} does not tell it: only {', '.join(tellers)} do")
    known = {name: one.value for name, one in members.items()}
    return {**known, "time": exception_reader.moment(members["time"])} if "time" in members else known


def check_form(node: Node) -> None:
    """Refuse a test that is none: with other words than tests have, or facts that nobody could tell. Raises Invalid."""
    members = node.members(_TEST)
    if "expect" not in members:
        node.fail("expect is missing")
    if not members["expect"].members(_EXPECT):
        members["expect"].fail(f"it must have one of {', '.join(_EXPECT)}")
    if "invocation" in members:
        _check_facts(members["invocation"])
        _stated(members["invocation"])


def _problem(source: Source, node: Node) -> str:
    check_form(node)
    members = node.members()
    expect = members["expect"].members()
    config = members["config"].value if "config" in members else {}
    call = invocation(_stated(members["invocation"]) if "invocation" in members else None)
    view = match.View(config, call)
    matched = match.is_for(source.policy, view)
    step = decide.judge(source.policy, config, view) if matched else decide.Step(config)
    return next(filter(None, (_CHECKS[name](one, matched, step, config) for name, one in _defaults(expect, node))), "")


def unreached(source: Source) -> list[str]:
    """Lines on what no test of the policy shows: a refusal that none comes to, or that there are no tests at all."""
    place = f"{source.policy.file}:{source.policy.line}:1: policy {source.name}"
    if not source.tests:
        return [f"{place} has no tests"]
    reached = {_denial(source, test) for test in source.tests}
    missed = dict.fromkeys(message for _, message in source.policy.denials if message not in reached)
    return [f"{place}: no test comes to the refusal {messages.source(message)!r}" for message in missed]


def _denial(source: Source, test: Node) -> messages.Message | None:
    try:
        members = test.members(_TEST)
        config = members["config"].value if "config" in members else {}
        call = invocation(_stated(members["invocation"]) if "invocation" in members else None)
    except Invalid:
        return None
    view = match.View(config, call)
    if not match.is_for(source.policy, view) or not decide.judge(source.policy, config, view).denied:
        return None
    return decide.denial(source.policy, view)


def _check_facts(call: Node) -> None:
    """Only what a fact can be may be stated of a source, and of where a mount lands."""
    members = call.members(_INVOCATION)
    for facts in _by_path(members, "sources"):
        facts.members(_SOURCE)
    for place in _by_path(members, "lands"):
        if not place.text().startswith("/"):
            place.fail("it must be an absolute path in the container")


def _by_path(members: dict[str, Node], name: str) -> Iterator[Node]:
    """What a member says of each of some paths."""
    if name not in members:
        return
    for path, stated in members[name].members().items():
        if not path.startswith("/"):
            members[name].key(path).fail("it must be an absolute path, as it stands in the config")
        yield stated


def _defaults(expect: dict[str, Node], node: Node) -> list[tuple[str, Node]]:
    """What is not expected must not happen: a denial, an error."""
    absent = Node(node.file, None, node.line, node.column, node.what)
    return [*expect.items(), *((name, absent) for name in ("denied", "error") if name not in expect)]


def _check_matched(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    return "" if matched == node.flag() else f"it {'matched' if matched else 'did not match'}"


def _check_exempt(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    return _compare("exempt", node.value, step.exempt[1] if step.exempt else "")


def _check_denied(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    return _compare("denied", node.value, step.denied)


def _check_error(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    return _compare("an error", node.value, step.fault)


def _compare(what: str, wanted: Any, came: str) -> str:
    """`wanted` is a part of the message, true for any message, nothing or false for none."""
    if not wanted:
        return f"it was {what}: {came}" if came else ""
    if not came:
        return f"it was not {what}" + ("" if wanted is True else f", but should be with: {wanted}")
    return "" if wanted is True or str(wanted) in came else f"it was {what} with {came!r}, not with {wanted!r}"


def _check_changed(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    changed = step.config is not before
    return "" if changed == node.flag() else f"the config was {'' if changed else 'not '}changed"


def _check_fields(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    for path, wanted in node.members().items():
        try:
            found = pointer.reach(step.config, pointer.parsed(path))
        except ValueError as error:
            node.key(path).fail(str(error))
        came = [None if value is pointer.ABSENT else value for value in found]
        value = came if pointer.ANY in pointer.parsed(path) else came[0]
        if not pointer.same(value, wanted.value):
            return f"{path} is {value!r}, not {wanted.value!r}"
    return ""


def _check_hooks(node: Node, matched: bool, step: decide.Step, before: Any) -> str:
    for stage, wanted in node.members().items():
        paths = [hook.get("path") for hook in (step.config.get("hooks") or {}).get(stage) or ()]
        expected = [in_bundle.absolute(path) for path in wanted.one_or_more()]
        if paths != expected:
            return f"the hooks of {stage} are {paths}, not {expected}"
    return ""


_CHECKS = {
    "matched": _check_matched,
    "exempt": _check_exempt,
    "denied": _check_denied,
    "error": _check_error,
    "changed": _check_changed,
    "fields": _check_fields,
    "hooks": _check_hooks,
}
