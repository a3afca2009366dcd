"""`features`: valid by the official schema, all that runc has, and true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.support.runtimes import CHECKOUT, Runtime

SCHEMAS = CHECKOUT.parent / "shared/data/runtime-spec-schema"


def features(runtime: Runtime) -> dict[str, Any]:
    result = runtime.call("features")
    assert result.status == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the official schemas lie outside the checkout")
def test_output_follows_the_schema(hookrun: Runtime) -> None:
    def load(uri: str) -> Resource[Any]:
        return DRAFT4.create_resource(json.loads((SCHEMAS / Path(uri).name).read_text()))

    validator = Draft4Validator(
        json.loads((SCHEMAS / "features-schema.json").read_text()),
        registry=Registry(retrieve=load),  # type: ignore[call-arg]
    )
    assert [error.message for error in validator.iter_errors(features(hookrun))] == []


def test_output_is_laid_out_as_runcs(hookrun: Runtime) -> None:
    text = hookrun.call("features").out
    assert text == json.dumps(json.loads(text), indent=4) + "\n"


@pytest.mark.parametrize(
    "path",
    [
        ("hooks",),
        ("mountOptions",),
        ("linux", "namespaces"),
        ("linux", "capabilities"),
        ("linux", "seccomp", "actions"),
        ("linux", "seccomp", "operators"),
        ("linux", "seccomp", "archs"),
    ],
    ids=".".join,
)
def test_nothing_of_runcs_is_missing(path: tuple[str, ...], hookrun: Runtime, runc: Runtime) -> None:
    ours: Any = features(hookrun)
    theirs: Any = features(runc)
    for name in path:
        ours, theirs = ours[name], theirs[name]
    # runc took these two out again: no kernel has had them as flags since 2.6.
    assert set(theirs) - set(ours) - {"acl", "noacl"} == set()
    assert len(ours) == len(set(ours))


def test_seccomp_flags_are_those_that_the_kernel_takes(hookrun: Runtime) -> None:
    seccomp = features(hookrun)["linux"]["seccomp"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_LOG" in seccomp["supportedFlags"]
