"""The one exception of this package."""

from __future__ import annotations


class HookError(Exception):
    """Hooks that cannot be given to a container; the text is one line for whoever started it."""
