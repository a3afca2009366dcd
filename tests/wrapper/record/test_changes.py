"""The patch between two values, with the jsonpatch library as the judge of what it means."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookrun.wrapper.record import changes

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5]) | st.text("ab/~0", max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("ab/~0", max_size=2), inner, max_size=4),
    max_leaves=20,
)


def canonical(value: Any) -> Any:
    """A value in which 1, 1.0 and True differ, as they do in JSON."""
    if isinstance(value, dict):
        return {name: canonical(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [canonical(entry) for entry in value]
    return (type(value).__name__, value)


@given(values, values)
def test_the_patch_makes_one_of_the_other(before: Any, after: Any) -> None:
    kept = copy.deepcopy(before)
    patch = changes.between(before, after)
    assert canonical(jsonpatch.apply_patch(before, patch)) == canonical(after)
    assert before == kept


@given(values)
def test_no_change_no_operations(value: Any) -> None:
    assert changes.between(value, copy.deepcopy(value)) == []


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [{"op": "remove", "path": "/a/1"}]),
        ({"a": [1, 3]}, {"a": [1, 2, 3]}, [{"op": "add", "path": "/a/1", "value": 2}]),
        ({"a": {"b/c": 1}}, {"a": {"b/c": 2}}, [{"op": "replace", "path": "/a/b~1c", "value": 2}]),
        ({}, {"hooks": {}}, [{"op": "add", "path": "/hooks", "value": {}}]),
    ],
)
def test_patches_are_small(before: Any, after: Any, patch: list[dict[str, Any]]) -> None:
    assert changes.between(before, after) == patch
