"""Running one hook of a live container by hand, as near to its stage as a container that runs allows.

prestart, createRuntime, poststart and poststop hooks run on the host. A createContainer hook runs in the container's
namespaces but the mount one: in its stage it still sees the host's files, which a running container no longer does.
A startContainer hook runs inside, as `exec` runs a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hookrun.runtime import jsonio
from hookrun.runtime.container import container as containers
from hookrun.runtime.container import hooks
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux import attributes, namespaces, pids
from hookrun.runtime.spec.hooks import STATUSES, of_stage


@dataclass
class Result:
    """How a hook ended; `problem` is "" where it went well."""

    path: str
    problem: str
    milliseconds: float
    stderr: str


def run(program: Path, root: str, container_id: str, stage: str, number: int) -> Result:
    """Run the `number`th hook of a stage, counted from 1; 0 is the only one. `program` is hookrun. Raises Failure."""
    container = containers.load(root, container_id)
    hook = _chosen(of_stage(container.config, stage), stage, number)
    if stage not in ("createContainer", "startContainer"):
        state = container.oci_state(STATUSES[stage], with_pid=stage != "poststop")
        return _on_host(hook, state, None)
    if not container.init_is_alive():
        raise Failure(f"container {container_id} is not running: there are no namespaces to run the hook in")
    state = {**container.oci_state(STATUSES[stage]), "pid": _pid_inside(container.init_pid)}
    if stage == "createContainer":
        environment = (container.config.get("process") or {}).get("env")
        return _in_namespaces(container.init_pid, hook, state, environment)
    return _inside([str(program), "--root", root], container, hook, state)


def _chosen(found: list[dict[str, Any]], stage: str, number: int) -> dict[str, Any]:
    listed = "; ".join(f"{at} is {hook['path']}" for at, hook in enumerate(found, 1))
    if not found:
        raise Failure(f"the container has no {stage} hook")
    if number > len(found) or (number == 0 and len(found) > 1):
        raise Failure(f"choose one of the {stage} hooks by --number: {listed}")
    return found[number - 1]


def _pid_inside(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def _on_host(hook: dict[str, Any], state: dict[str, Any], environment: list[str] | None) -> Result:
    reports: list[dict[str, Any]] = []
    problem = hooks.run_one(hook, jsonio.dumps(state).encode(), reports.append, environment)
    return Result(hook["path"], problem, reports[0]["ms"], reports[0]["stderr"])


def _in_namespaces(target: int, hook: dict[str, Any], state: dict[str, Any], environment: list[str] | None) -> Result:
    """In a child: setns changes the whole process, and a user namespace wants a single thread."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(target, hook, state, environment, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    if not data:
        raise Failure("the hook's process ended without a word")
    found = json.loads(data)
    if "failure" in found:
        raise Failure(found["failure"])
    return Result(**found)


def _child(
    target: int, hook: dict[str, Any], state: dict[str, Any], environment: list[str] | None, writer: int
) -> NoReturn:
    try:
        attributes.set_dumpable(False)
        _join(target)
        answer = vars(_on_host(hook, state, environment))
    except OSError as error:
        answer = {"failure": f"cannot enter the container's namespaces: {reason(error)}"}
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def _join(target: int) -> None:
    """Enter the namespaces of a process that are not this one's already. Raises OSError."""
    flags = 0
    for kind, flag in namespaces.FLAGS.items():
        name = namespaces.PROC_NAMES[kind]
        try:
            is_new = not namespaces.is_same(f"/proc/{target}/ns/{name}", f"/proc/self/ns/{name}")
        except FileNotFoundError:  # a kernel without such namespaces
            continue
        if is_new and kind != "mount":
            flags |= flag
    if flags:
        namespaces.join(pids.open_pidfd(target), flags)
    if flags & namespaces.NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _inside(command: list[str], container: containers.Container, hook: dict[str, Any], state: dict[str, Any]) -> Result:
    process = {
        **container.config["process"],
        "terminal": False,
        "args": [hook["path"], *(hook.get("args") or [""])[1:]],
    }
    if hook.get("env") is not None:
        process["env"] = hook["env"]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(process, file)
        file.flush()
        started = time.monotonic()
        try:
            done = subprocess.run(
                [*command, "exec", "--process", file.name, container.id],
                input=jsonio.dumps(state).encode(),
                capture_output=True,
                timeout=hook.get("timeout"),
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem, stderr = f"hook ran past specified timeout of {hook['timeout']} s", b""
        else:
            problem, stderr = f"exit status {done.returncode}" if done.returncode else "", done.stderr
    return Result(hook["path"], problem, (time.monotonic() - started) * 1000, stderr.decode("utf-8", "replace"))
