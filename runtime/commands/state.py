"""`state`: the container's state as JSON (runtime.md "State"; runc: state.go)."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.container import container as containers
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the state of the container `arguments[0]`. Raises Failure."""
    shown = describe(containers.load(context.root, arguments[0]))
    shown["owner"] = ""
    os.write(1, pretty(shown).encode("utf-8", "surrogateescape"))
    return 0


def describe(container: Container) -> dict[str, Any]:
    """The state with runc's additions to the spec's: rootfs, created."""
    status = container.status()
    shown = {
        "ociVersion": container.state["config"]["oci_version"],
        "id": container.id,
        "pid": 0 if status == "stopped" else container.init_pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.state["config"]["rootfs"],
        "created": container.state["created"],
    }
    if container.annotations:
        shown["annotations"] = container.annotations
    return shown


def pretty(value: dict[str, Any], indent: str = "  ") -> str:
    """A flat object, or one with flat objects in it, as Go's MarshalIndent prints it."""
    lines = []
    for name, element in value.items():
        text = pretty(element, indent + "  ") if isinstance(element, dict) else jsonio.dumps(element)
        lines.append(f"{indent}{jsonio.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + f"\n{indent[2:]}}}"
