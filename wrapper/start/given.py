"""Importing modules whose code is there already."""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    Code = tuple[str, bool, CodeType]
    """The source's path, whether it is a package, the compiled code."""


def import_all(codes: dict[str, Code]) -> None:
    """Import every module. Raises what their top levels raise."""
    finder: Any = _Finder(codes)
    sys.meta_path.insert(0, finder)
    for name in sorted(codes):
        import_module(name)
    sys.meta_path.remove(finder)


class _Finder:
    """A finder for sys.meta_path, and the loader of what it finds."""

    def __init__(self, codes: dict[str, Code]) -> None:
        self._codes = codes

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self._codes:
            return None
        origin, is_package, _ = self._codes[name]
        loader: Any = self  # importlib asks for the methods, not for a base class
        spec = ModuleSpec(name, loader, origin=origin, is_package=is_package)
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self._codes.pop(module.__name__)[2], module.__dict__)
