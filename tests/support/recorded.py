"""Records as a busy host would have them, made up."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_LIFE = ("create", "start", "state", "exec", "state", "kill", "delete")
_ENGINES = ("docker", "kubernetes", "podman")


def call(number: int, dice: random.Random, **changes: Any) -> dict[str, Any]:
    """One line's value; seven in a row are a container's life."""
    container = f"{number // len(_LIFE):064x}"
    command = _LIFE[number % len(_LIFE)]
    engine = _ENGINES[number // len(_LIFE) % len(_ENGINES)]
    milliseconds = round(dice.lognormvariate(2, 0.5), 3)
    bundle = f"/run/containerd/io.containerd.runtime.v2.task/moby/{container}"
    argv = ["/usr/bin/hookrun", "--root", "/run/runc/moby", "--log", f"{bundle}/log.json", command, container]
    made = {
        "format": 1,
        "id": f"{number * 2654435761 % 2**48:012x}",
        "time": (BEGIN + timedelta(milliseconds=100 * number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "runtime": {"name": "hookrun", "version": "0.1.0"},
        "profile": "",
        "delegate": "",
        "pid": 1000 + number % 30000,
        "caller": {
            "pid": 900 + number % 1000,
            "exe": "/usr/bin/containerd-shim-runc-v2",
            "cmdline": [
                "containerd-shim-runc-v2",
                "-namespace",
                "moby",
                "-id",
                container,
                "-address",
                "/run/containerd.sock",
            ],
            "above": {"pid": 7, "exe": "/usr/bin/containerd", "cmdline": ["/usr/bin/containerd"]},
        },
        "engine": engine,
        "argv": argv,
        "command": command,
        "globals": {"root": "/run/runc/moby", "log": f"{bundle}/log.json"},
        "options": {},
        "arguments": [container],
        "container": container,
        "bundle": bundle if command == "create" else None,
        "process": None,
        "decisions": [],
        "hooks": [],
        "hook_results": [],
        "config": None,
        "phases": [["decide", 0.5], ["clone", round(milliseconds / 2, 3)]],
        "milliseconds": milliseconds,
        "status": 0,
        "error": "",
    }
    if command == "create":
        made["decisions"] = [decision("no-root", "passed")]
        made["hook_results"] = [
            {"stage": "prestart", "index": 0, "path": "/usr/bin/net", "ms": milliseconds / 3, "status": 0, "stderr": ""}
        ]
    if dice.random() < 0.01:
        made |= {"status": 1, "error": "runc create failed: made up"}
    return {**made, **changes}


def decision(policy: str, action: str, message: str = "", milliseconds: float = 0.2) -> dict[str, Any]:
    mode = "audit" if action == "audited" else "enforce"
    place = {"file": f"/etc/hookrun/policies.d/{policy}.yaml", "line": 1}
    return {"policy": policy, "mode": mode, "action": action, "message": message, "ms": milliseconds, **place}


def calls(count: int) -> Iterator[dict[str, Any]]:
    dice = random.Random(7)
    for number in range(count):
        yield call(number, dice)


def write(directory: Path, lines: list[dict[str, Any]]) -> None:
    """Calls as the current file."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "record.jsonl").open("a") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def write_many(directory: Path, count: int, of_a_file: int) -> None:
    """A host's record of `count` calls, rotated after `of_a_file` of them."""
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / "record.jsonl").open("w")
    for number, line in enumerate(calls(count)):
        if number and number % of_a_file == 0:
            file.close()
            (directory / "record.jsonl").rename(directory / f"record-{number:019d}-1.jsonl")
            file = (directory / "record.jsonl").open("w")
        file.write(json.dumps(line, separators=(",", ":")) + "\n")
    file.close()
