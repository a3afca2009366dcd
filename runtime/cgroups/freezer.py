"""A first look at the freezer, by itself because most calls need no more of the cgroups than its "not frozen"."""

from __future__ import annotations

from hookrun.runtime.linux.files import read_bytes


def may_be_frozen(paths: dict[str, str]) -> bool:
    """Whether the cgroups at `paths` (as in `Manager.paths`) were told to freeze, or won't say.

    What was told, and not what has happened by now: `Manager.is_frozen` knows that.
    """
    if "freezer" in paths:
        told = f"{paths['freezer']}/freezer.self_freezing"
    elif "" in paths:
        told = f"{paths['']}/cgroup.freeze"
    else:
        return False
    try:
        return read_bytes(told) != b"0\n"
    except OSError:
        return True
