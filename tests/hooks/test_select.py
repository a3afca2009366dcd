"""`when` of oci-hooks(5): each condition, all of them together, and any of them in schema 0.1.0."""

from __future__ import annotations

from typing import Any

import pytest

from hookrun.hooks import select
from hookrun.hooks.compiler import directories
from hookrun.hooks.errors import HookError

BIND = {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]}


def config(*arguments: str, mounts: tuple[dict[str, Any], ...] = (), **annotations: str) -> dict[str, Any]:
    return {"process": {"args": list(arguments) or ["/bin/sh"]}, "mounts": list(mounts), "annotations": annotations}


def new(value: dict[str, Any], **when: Any) -> bool:
    entry = directories.parsed({"version": "1.0.0", "hook": {"path": "/h"}, "stages": ["prestart"], "when": when})
    return select.matches({**entry, "file": "f"}, value)


def old(value: dict[str, Any], **conditions: Any) -> bool:
    entry = directories.parsed({"hook": "/h", "stages": ["prestart"], **conditions})
    return select.matches({**entry, "file": "f"}, value)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"always": True}, True),
        ({"always": False}, False),
        ({"commands": ["sh$"]}, True),
        ({"commands": ["^sh$"]}, False),
        ({"commands": ["nope", "^/bin/"]}, True),
        ({"commands": []}, False),
        ({"annotations": {"^a$": "^1$"}}, True),
        ({"annotations": {"^a$": "2"}}, False),
        ({"annotations": {"a|b": "2"}}, True),
        ({"annotations": {"a": "1", "b": "2"}}, True),
        ({"annotations": {"a": "1", "c": "."}}, False),
        ({"annotations": {}}, False),
        ({"hasBindMounts": True}, True),
        ({"hasBindMounts": False}, False),
        ({"always": True, "commands": ["nope"]}, False),
        ({"always": True, "commands": ["sh"], "hasBindMounts": True, "annotations": {"a": "1"}}, True),
        ({"always": False, "commands": ["sh"]}, False),
    ],
)
def test_all_conditions_must_hold(when: dict[str, Any], expected: bool) -> None:
    assert new(config(mounts=(BIND,), a="1", b="2"), **when) is expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"cmds": ["sh$"]}, True),
        ({"cmd": ["nope"]}, False),
        ({"annotations": ["^2$"]}, True),
        ({"annotation": ["x", "y"]}, False),
        ({"annotations": ["x"], "cmds": ["sh"]}, True),
        ({"annotations": ["1"], "cmds": ["nope"]}, True),
        ({"hasbindmounts": True}, True),
        ({"hasbindmounts": False}, False),
        ({"hasbindmounts": True, "cmds": ["nope"]}, True),
        ({}, False),
    ],
)
def test_any_condition_is_enough_in_the_old_schema(conditions: dict[str, Any], expected: bool) -> None:
    assert old(config(mounts=(BIND,), a="1", b="2"), **conditions) is expected


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (BIND, True),
        ({"destination": "/x", "type": "none", "source": "/y", "options": ["bind", "ro"]}, True),
        ({"destination": "/x", "type": "tmpfs", "source": "tmpfs"}, False),
        (
            {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/docker/x/hosts", "options": ["rbind"]},
            False,
        ),
        ({"destination": "/dev/shm", "type": "bind", "source": "/shm"}, False),
    ],
)
def test_bind_mounts_are_those_that_the_caller_asked_for(mount: dict[str, Any], expected: bool) -> None:
    assert select.has_bind_mounts(config(mounts=(mount,))) is expected


def test_commands_need_a_command() -> None:
    with pytest.raises(HookError, match="at least one entry"):
        new({"process": {"args": []}}, commands=["sh"])


def test_without_a_process_commands_are_no_condition() -> None:
    assert not new({}, commands=["sh"])
    assert new({}, commands=["sh"], always=True)
