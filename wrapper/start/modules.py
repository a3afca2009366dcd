"""Which modules a call may need: those that `hookrun.wrapper.entry` and the commands import, wherever they do it.

But for the commands that start cold: no program that is static can have the library protobuf.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_COMMANDS = "runtime/commands"
_COLD = ("checkpoint", "restore")
_ENTRY = "hookrun.wrapper.entry"


class Found(NamedTuple):
    """The modules of hookrun with their files, and what else they import."""

    ours: dict[str, Path]
    others: set[str]


def find(packages: Path) -> Found:
    """Follow the imports of the hookrun whose packages lie in the directory `packages`. Raises OSError, SyntaxError."""
    found = Found({}, set())
    commands = sorted(path.stem for path in (packages / _COMMANDS).glob("*.py") if path.stem not in _COLD)
    waiting = [_ENTRY, *(f"hookrun.runtime.commands.{name}" for name in commands)]
    while waiting:
        name = waiting.pop()
        path = _file(packages, name)
        if not name.startswith("hookrun."):
            found.others.add(name)
        elif path and name not in found.ours:
            found.ours[name] = path
            waiting += [name.rpartition(".")[0], *_imports(ast.parse(path.read_bytes()))]
    return found


def _file(packages: Path, name: str) -> Path | None:
    """None for what is no module of ours: a function that is imported by its name."""
    base = packages.joinpath(*name.split(".")[1:])
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Names of modules, and of what may be one."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield tree.module
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names if tree.module.startswith("hookrun"))
    for child in ast.iter_child_nodes(tree):
        yield from _imports(child)
