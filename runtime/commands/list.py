"""`list`: the containers under the root (runc: list.go)."""

from __future__ import annotations

import os
from typing import Any

from hookrun.runtime import jsonio
from hookrun.runtime.commands.state import describe
from hookrun.runtime.container import container as containers
from hookrun.runtime.container import directory as container_directory
from hookrun.runtime.context import Context, Options, default_root
from hookrun.runtime.errors import Failure
from hookrun.runtime.linux import files

_GAP = 3
_NARROWEST = 12
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print every container as a table, as JSON, or only the ids with --quiet. Raises Failure."""
    found = [_described(context, container_id) for container_id in _ids(context.root)]
    shown = [item for item in found if item is not None]
    if options["quiet"]:
        _print("".join(f"{item['id']}\n" for item in shown))
    elif options["format"] == "table":
        _print(_table(shown))
    elif options["format"] == "json":
        _print((jsonio.dumps(shown) if shown else "null") + "\n")
    else:
        raise Failure("invalid format option")
    return 0


def _ids(root: str) -> list[str]:
    """The ids under a root; only the default one may be missing, as in runc since 1.2 (1.1 makes any)."""
    if root == default_root() and not os.path.exists(root):
        return []
    return container_directory.list_ids(root)


def _described(context: Context, container_id: str) -> dict[str, Any] | None:
    """The state of one container; one that is half made, or goes meanwhile, is left out with a word."""
    try:
        container = containers.load(context.root, container_id)
        return {**describe(container), "owner": _owner(container.directory)}
    except FileNotFoundError:
        return None
    except Failure as failure:
        if failure.text != "container does not exist":
            _print(f"load container {container_id}: {failure.text}\n", 2)
        return None


def _owner(directory: str) -> str:
    uid = os.stat(directory).st_uid
    return next((name for name, number in _users() if number == uid), f"#{uid}")


def _users() -> list[tuple[str, int]]:
    lines = files.read_bytes("/etc/passwd").decode("utf-8", "replace").split("\n")
    fields = [line.split(":") for line in lines]
    return [(entry[0], int(entry[2])) for entry in fields if len(entry) > 2 and entry[2].isdigit()]


def _table(shown: list[dict[str, Any]]) -> str:
    rows = [_COLUMNS]
    for item in shown:
        fields = ("id", "pid", "status", "bundle", "created", "owner")
        rows.append(tuple(str(item[field]) for field in fields))  # type: ignore[arg-type]
    widths = [max(_NARROWEST, *(len(row[column]) + _GAP for row in rows)) for column in range(len(_COLUMNS) - 1)]
    lines = ["".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows]
    return "".join(line + "\n" for line in lines)


def _print(text: str, descriptor: int = 1) -> None:
    os.write(descriptor, text.encode("utf-8", "surrogateescape"))
