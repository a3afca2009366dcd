"""What tests of policies state about a host, and what they can't state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hookrun.policies import compiler, testing

SPEC = {"mounts": {"forbid": [{"destination": {"startsWith": "/run/secrets"}, "message": "no secrets"}]}}
CONFIG = {"mounts": [{"destination": "/var//run/secrets", "source": "/a", "type": "bind"}]}


def problem(invocation: dict[str, Any], expect: dict[str, Any]) -> str:
    """What went wrong with a test of a policy, "" if nothing did."""
    test = {"config": CONFIG, "invocation": invocation, "expect": expect}
    head = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": "one"}}
    (source,) = compiler.load(json.dumps({**head, "spec": SPEC, "tests": [test]}), "p.yaml")
    (outcome,) = testing.run(source)
    return outcome.problem


def test_where_a_mount_lands_is_stated() -> None:
    assert problem({"lands": {"/var/run/secrets": "/run/secrets"}}, {"denied": "no secrets"}) == ""
    assert problem({}, {"denied": "no secrets"}).startswith("it was not denied")


@pytest.mark.parametrize(
    ("invocation", "complaint"),
    [
        ({"lands": {"var/run": "/run"}}, "it must be an absolute path, as it stands in the config"),
        ({"lands": {"/var/run": "run"}}, "it must be an absolute path in the container"),
        ({"lands": {"/var/run": 5}}, "must be a string"),
        ({"sources": {"a": {}}}, "it must be an absolute path, as it stands in the config"),
        ({"sources": {"/a": {"realpath": "/b"}}}, "realpath"),
    ],
)
def test_what_cannot_be(invocation: dict[str, Any], complaint: str) -> None:
    assert complaint in problem(invocation, {"denied": True})
