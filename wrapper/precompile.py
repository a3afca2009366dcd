"""Writing the archive of the hot path's code; `hookctl` does it when it writes launchers."""

from __future__ import annotations

import ast
import marshal
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import hookrun
from hookrun.wrapper import archive

_FOLDERS = ("hooks", "policies", "runtime", "wrapper")
_LEFT_OUT = ("admin", "__pycache__", "library", "schema")
_WITHOUT_DOCSTRINGS = 2
# What the hot path uses of the standard library's extension modules, where they are no part of the interpreter itself.
_EXTENSIONS = ("_ctypes", "_json", "resource", "termios")


class _Source(NamedTuple):
    path: Path
    status: os.stat_result
    text: bytes


def write(state: str) -> Path:
    """Write the archive into the directory `state`, in one rename. Returns its path; raises OSError."""
    sources = {name: _Source(path, path.stat(), path.read_bytes()) for name, path in _sources()}
    target = Path(state) / archive.NAME
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    entries = {name: _entry(name, sources) for name in sources} | dict(_extensions())
    temporary.write_bytes(_packed({name: marshal.dumps(entry) for name, entry in entries.items()}))
    temporary.chmod(0o644)
    return temporary.rename(target)


class _Slimmed(ast.NodeTransformer):
    """A module without what only its readers and mypy need: a fifth of what Python would load, and never use."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node


def _entry(name: str, sources: dict[str, _Source]) -> archive.Entry:
    path, status, text = sources[name]
    tree = _Slimmed().visit(ast.parse(text))
    code = compile(tree, str(path), "exec", dont_inherit=True, optimize=_WITHOUT_DOCSTRINGS)
    is_package = path.name == "__init__.py"
    return str(path), status.st_mtime_ns, status.st_size, is_package, _needs(name, sources), marshal.dumps(code)


def _extensions() -> Iterator[tuple[str, archive.Entry]]:
    for name in _EXTENSIONS:
        spec = find_spec(name)
        if spec is not None and spec.origin and spec.has_location:
            status = os.stat(spec.origin)
            yield name, (spec.origin, status.st_mtime_ns, status.st_size, False, (), b"")


def _packed(entries: dict[str, bytes]) -> bytes:
    """The index's numbers are offsets in the whole file, so its own length is settled first."""
    start = 0
    while True:
        index = marshal.dumps(_index(entries, start))
        if start == len(archive.MAGIC) + 8 + len(index):
            return archive.MAGIC + len(index).to_bytes(8, "big") + index + b"".join(entries.values())
        start = len(archive.MAGIC) + 8 + len(index)


def _index(entries: dict[str, bytes], start: int) -> dict[str, tuple[int, int]]:
    index = {}
    for name, entry in entries.items():
        index[name] = (start, len(entry))
        start += len(entry)
    return index


def _needs(name: str, sources: dict[str, _Source]) -> tuple[str, ...]:
    """What a module imports at its top, and what that imports in turn, each after its own needs."""
    found: dict[str, None] = {}

    def visit(module: str) -> None:
        for needed in _imported(module, sources):
            if needed not in found and needed != name:
                found[needed] = None  # before its own needs, or a circle would never end
                visit(needed)
                found[needed] = found.pop(needed)

    visit(name)
    return tuple(found)


def _imported(name: str, sources: dict[str, _Source]) -> Iterator[str]:
    """The modules of ours that a module's top-level statements import, and the packages around them."""
    for statement in ast.parse(sources[name].text).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            candidates = [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
        elif isinstance(statement, ast.Import):
            candidates = [alias.name for alias in statement.names]
        else:
            continue
        for candidate in candidates:
            parts = candidate.split(".")
            for length in range(1, len(parts) + 1):
                module = ".".join(parts[:length])
                # A package has to be there before what is in it, which it therefore asks for itself.
                if module in sources and not module.startswith(f"{name}."):
                    yield module


def _sources() -> Iterator[tuple[str, Path]]:
    packages = Path(next(iter(hookrun.__path__)))
    for folder in _FOLDERS:
        for path in sorted((packages / folder).rglob("*.py")):
            parts = path.relative_to(packages).with_suffix("").parts
            if not set(parts) & set(_LEFT_OUT):
                yield ".".join(("hookrun", *parts)).removesuffix(".__init__"), path
