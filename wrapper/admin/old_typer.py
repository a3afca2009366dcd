"""Options in `Annotated`, and `int | None`, for typer before 0.9, which Debian 12 has."""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Union, get_type_hints

import typer.main
from typer.models import ParameterInfo
from typer.utils import get_params_from_function

_NO_DEFAULT = inspect.Parameter.empty


def teach() -> None:
    """Have an old typer read the command lines that hookctl declares; a newer one is left alone."""
    if inspect.signature(typer.Option).parameters["default"].default is _NO_DEFAULT:
        for kind in ("Option", "Argument"):
            setattr(typer, kind, functools.partial(getattr(typer, kind), ...))
        name = get_params_from_function.__name__
        setattr(typer.main, name, functools.partial(_parameters, get_params_from_function))


def _parameters(original: Callable[[Any], dict[str, Any]], function: Any) -> dict[str, Any]:
    """typer's own description of a function's parameters, in the form that it understands."""
    found = original(function)
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in found.items():
        for info in getattr(hints.get(name), "__metadata__", ()):
            if isinstance(info, ParameterInfo):
                parameter.default = _with_default(info, parameter.default)
        if isinstance(parameter.annotation, types.UnionType):
            parameter.annotation = Union[parameter.annotation.__args__]  # noqa: UP007  # that is what it knows
    return found


def _with_default(info: ParameterInfo, default: Any) -> ParameterInfo:
    """An old typer's option is its parameter's default and holds the real one; `info` may be shared by parameters."""
    own = copy.copy(info)
    own.default = ... if default is _NO_DEFAULT else default
    return own
