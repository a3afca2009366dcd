"""The door that is shut before a process enters a namespace: from then on Python loads no code.

Inside, a module would be looked for in files that belong to the container: whoever planted one there would run with the
runtime's own rights. So every module imports at its top what it takes, and an import of anything else from then on is
a fault of ours, never a look into the file system. `namespaces` shuts the door; nothing opens it again.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from hookrun.runtime.errors import Failure


class _Door:
    """The only finder on sys.meta_path: it finds nothing, and no other is asked."""

    __slots__ = ()

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> NoReturn:
        # Not an ImportError: where one is expected, another module would be tried.
        raise Failure(f"internal error: {name} was not loaded before a namespace was entered")


def close() -> None:
    """Have every import of a module that is not loaded yet raise Failure."""
    sys.meta_path[:] = [_Door]


def are_closed() -> bool:
    """Whether this process can load no more code."""
    return sys.meta_path == [_Door]
