"""What the decision on a container's hooks loads: nothing but what it needs for this very container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookrun.hooks import compile as hooks
from hookrun.wrapper import injection

SOURCE = str(Path(injection.__file__).parents[2])
MAIN = """
import sys, marshal
sys.path.append({source!r})
from hookrun.wrapper import injection
from hookrun.runtime.errors import Failure
before = set(sys.modules)
compiled, config = marshal.loads(open(sys.argv[1], "rb").read())
config, injected = injection.hooked(compiled, config, "/")
print(len(injected), *sorted(set(sys.modules) - before))
"""
DEAR = {"json", "re", "typing", "subprocess", "ctypes", "collections", "enum", "functools", "copy", "pathlib"}


def loaded(place: Path, config: dict[str, Any], **settings: Any) -> tuple[int, set[str]]:
    """How many hooks were injected, and the modules loaded for it."""
    import marshal

    compiled, problems = hooks.compiled({**hooks.DEFAULTS, "cdi": {"directories": ["cdi"], "environment": ""}, **settings}, place)
    assert problems == []
    (place / "input").write_bytes(marshal.dumps((compiled, config)))
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-ISXutf8", "-c", MAIN.format(source=SOURCE), str(place / "input")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    number, *modules = done.stdout.split()
    return int(number), set(modules)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("hooks.d", "cdi"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_no_hooks(place: Path) -> None:
    assert loaded(place, {"process": {"args": ["sh"]}}) == (0, set())


def test_hooks_with_conditions(place: Path) -> None:
    value = {"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"commands": ["sh$"]}, "stages": ["poststop"]}
    (place / "hooks.d/1.json").write_text(json.dumps(value))
    number, modules = loaded(place, {"process": {"args": ["sh"]}})
    assert number == 1
    assert modules <= {"hookrun.hooks", "hookrun.hooks.inject", "hookrun.hooks.errors", "hookrun.hooks.select", "_sre", "marshal"}


def test_a_device_from_json(place: Path) -> None:
    edits = {"hooks": [{"hookName": "poststop", "path": "/bin/true"}]}
    spec = {"cdiVersion": "0.5.0", "kind": "v.com/g", "devices": [{"name": "a", "containerEdits": edits}]}
    (place / "cdi/spec.json").write_text(json.dumps(spec))
    number, modules = loaded(place, {"annotations": {"cdi.k8s.io/x": "v.com/g=a"}})
    assert number == 1
    assert not modules & DEAR
