"""The house rules: style, types, and who may import whom."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hookrun.wrapper

CHECKOUT = Path(__file__).parents[1]
SOURCE = Path(hookrun.wrapper.__file__).parents[2]
TOOLS = Path(sys.executable).parent
FOLDERS = ["wrapper", "hooks", "policies", "runtime"]


def check(*arguments: str, directory: Path = CHECKOUT) -> None:
    """Run one of the virtual environment's tools; its findings are the failure's text."""
    done = subprocess.run(
        [str(TOOLS / arguments[0]), *arguments[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
        cwd=directory,
        env={**os.environ, "MYPYPATH": str(SOURCE), "NO_COLOR": "1"},
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-20_000:]}"


def test_style() -> None:
    check("ruff", "check", "--no-cache", *FOLDERS, "packaging", "tests")


def test_format() -> None:
    check("ruff", "format", "--check", "--no-cache", *FOLDERS, "packaging", "tests")


def test_types(tmp_path: Path) -> None:
    packages = [
        word
        for folder in FOLDERS
        if (CHECKOUT / folder / "__init__.py").exists()
        for word in ("-p", f"hookrun.{folder}")
    ]
    config = CHECKOUT / "pyproject.toml"
    check("mypy", "--strict", "--config-file", str(config), "--cache-dir", str(tmp_path), *packages, directory=SOURCE)


def test_types_of_the_tests_and_the_packages_tools(tmp_path: Path) -> None:
    """What the tests import of the tree is there, too: a module that moved is found here, not in CI's last stage."""
    tools = map(str, sorted((CHECKOUT / "packaging").rglob("*.py")))
    check("mypy", "--strict", "--cache-dir", str(tmp_path), *tools, "tests")


def test_shell_scripts() -> None:
    scripts = [path for path in (CHECKOUT / "packaging").rglob("*") if is_shell(path)]
    done = subprocess.run(
        ["shellcheck", *scripts, *(CHECKOUT / "tests").rglob("*.sh")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def is_shell(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b"#!/bin/sh")


def test_who_imports_whom() -> None:
    check("lint-imports", "--no-cache", "--config", str(CHECKOUT / "pyproject.toml"))


def test_hookrun_is_a_namespace() -> None:
    assert not (SOURCE / "hookrun" / "__init__.py").exists()


@pytest.mark.parametrize("folder", ["hooks", "policies", "runtime"])
def test_nobody_below_knows_the_wrapper(folder: str) -> None:
    guilty = [str(path) for path in (CHECKOUT / folder).rglob("*.py") if "hookrun.wrapper" in path.read_text()]
    assert not guilty


# What a function of a call's may import: each says why it does not do so at the top of its module. See also
# tests/security/test_imports.py, for the runtime.
LATE = {("wrapper/decision/injection.py", "_yaml")}


def test_modules_import_at_their_top() -> None:
    found = {
        (str(path.relative_to(CHECKOUT)), function.name)
        for folder in ("wrapper", "hooks", "policies")
        for path in (CHECKOUT / folder).rglob("*.py")
        if path.relative_to(CHECKOUT).parts[:2] not in (("wrapper", "admin"), ("wrapper", "start"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert found == LATE
