"""The patch engine against jsonpatch, the authority, and RFC 6902's own examples."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import jsonpointer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookrun.policies import patch, pointer
from hookrun.policies.draft import Draft
from hookrun.policies.pointer import Fault

QUIET = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck), derandomize=True)


def compiled(operation: dict[str, Any]) -> tuple[Any, ...]:
    return (
        operation["op"],
        pointer.parsed(operation["path"]),
        pointer.parsed(operation.get("from", "")),
        operation.get("value"),
    )


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """The document after the operations; the one before must be as it was."""
    before = copy.deepcopy(document)
    draft = Draft(document, {})
    try:
        patch.apply(draft, tuple(map(compiled, operations)))
    finally:
        assert pointer.same(document, before), "the original was changed"
    return draft.root


# RFC 6902, appendix A; None where the operation must fail.
RFC: list[tuple[str, Any, list[dict[str, Any]], Any]] = [
    ("A.1", {"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ("A.2", {"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ("A.3", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    (
        "A.5",
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        "A.6",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    ("A.9", {"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], None),
    (
        "A.10",
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ("A.12", {"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], None),
    ("A.14", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ("A.15", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], None),
    (
        "A.16",
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
]


@pytest.mark.parametrize(("document", "operations", "after"), [case[1:] for case in RFC], ids=[case[0] for case in RFC])
def test_the_rfcs_examples(document: Any, operations: list[dict[str, Any]], after: Any) -> None:
    if after is None:
        with pytest.raises(Fault):
            applied(document, operations)
    else:
        assert applied(document, operations) == after


# jsonpatch compares as Python does, where 1 is True: no booleans among the numbers. `replace` of the whole too.
scalars = st.one_of(st.none(), st.integers(2, 9), st.sampled_from(["", "a", "b", "/", "~"]))
names = st.sampled_from(["a", "b", "0", "1", "/", "~", "-", ""])
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=12,
)
objects = st.dictionaries(names, documents, max_size=4)
paths = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "/", "~", "-", "01", "x"]), min_size=1, max_size=4)


@st.composite
def places(draw: st.DrawFn, document: Any) -> str:
    """Mostly paths that are there, or nearly."""
    tokens: list[str] = []
    node = document
    while isinstance(node, dict | list) and node and draw(st.integers(0, 3)):
        token = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(map(str, range(len(node))))))
        tokens.append(token)
        node = node[token] if isinstance(node, dict) else node[int(token)]
    if not tokens or not draw(st.integers(0, 2)):
        tokens += draw(paths)[:1]
    return pointer.written(tuple(tokens))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, list[dict[str, Any]]]:
    document = draw(objects)
    operations = []
    for _ in range(draw(st.integers(1, 4))):
        op = draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]))
        operation: dict[str, Any] = {"op": op, "path": draw(places(document))}
        if op in ("add", "replace", "test"):
            operation["value"] = draw(documents)
        if op in ("move", "copy"):
            operation["from"] = draw(places(document))
        operations.append(operation)
    return document, operations


@QUIET
@given(cases())
def test_it_does_what_jsonpatch_does(case: tuple[Any, list[dict[str, Any]]]) -> None:
    document, operations = case
    try:
        expected = jsonpatch.apply_patch(json.loads(json.dumps(document)), operations)
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
    ):
        with pytest.raises(Fault):
            applied(document, operations)
        return
    assert applied(document, operations) == expected


def test_a_copy_does_not_share_later_changes() -> None:
    document = {"a": {"list": [1]}, "b": {}}
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/a/list/-", "value": 2},
        {"op": "copy", "from": "/a", "path": "/b/a"},
        {"op": "add", "path": "/b/a/list/-", "value": 3},
        {"op": "add", "path": "/a/list/-", "value": 4},
    ]
    assert applied(document, operations) == {"a": {"list": [1, 2, 4]}, "b": {"a": {"list": [1, 2, 3]}}}


def test_a_value_of_the_patch_is_never_changed() -> None:
    value: list[int] = []
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/a", "value": value},
        {"op": "add", "path": "/a/-", "value": 1},
    ]
    assert applied({}, operations) == {"a": [1]}
    assert value == []


def test_only_the_path_is_copied() -> None:
    document: dict[str, Any] = {"changed": {"inner": []}, "kept": {"big": [1, 2, 3]}}
    after = applied(document, [{"op": "add", "path": "/changed/inner/-", "value": 1}])
    assert after["kept"] is document["kept"]
    assert after["changed"] is not document["changed"]


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ({"op": "remove", "path": "/a/nosuch"}, "patch: remove /a/nosuch: there is no 'nosuch'"),
        ({"op": "replace", "path": "/list/7", "value": 1}, "patch: replace /list/7: the list has only 1 element"),
        ({"op": "move", "from": "/x", "path": "/y"}, "patch: move /x to /y: there is no 'x'"),
        ({"op": "test", "path": "/flag", "value": 1}, "patch: test /flag: the value is another one"),
    ],
)
def test_a_missing_target_is_named(operation: dict[str, Any], text: str) -> None:
    with pytest.raises(Fault) as caught:
        applied({"a": {}, "list": [0], "flag": True}, [operation])
    assert str(caught.value).startswith(text)
