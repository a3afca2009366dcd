"""The word `mounts`, and the condition `mount`: mounts as rules select them.

A selector is what a mount must be like: (its field, tests) each.
"""

from __future__ import annotations

from os.path import normpath
from typing import Any

from hookrun.policies import conditions, sources
from hookrun.policies.draft import Draft
from hookrun.policies.pointer import ABSENT, Fault, same

Config = dict[str, Any]
Selector = tuple[tuple[str, tuple[conditions.Test, ...]], ...]

FIELDS = ("destination", "source", "type", "realPath", *sources.ATTRIBUTES)
_WRITABILITY = ("ro", "rw", "rro", "rrw")


def is_selected(mount: dict[str, Any], selector: Selector) -> bool:
    """Whether a mount, as `sources.mounts_of` gives it, has all that a selector asks for.

    The rootfs is selected only for a file that it shows.
    """
    has_source = False
    for name, tests in selector:
        has_source = has_source or name == "source"
        for value in _values(mount, name):
            if conditions.fits(value, tests):
                break
        else:
            return False
    source = mount.get("source")
    return has_source or not (isinstance(source, sources.Source) and source.is_root)


def _values(mount: dict[str, Any], name: str) -> list[Any]:
    source = mount.get("source", ABSENT)
    if name == "source":
        return [source]
    if name == "realPath":
        return (source.real or [ABSENT]) if isinstance(source, sources.Source) else [ABSENT]
    if name in sources.ATTRIBUTES:
        return [source.attributes.get(name, ABSENT) if isinstance(source, sources.Source) else ABSENT]
    value = mount.get(name, ABSENT)
    if name == "type":
        return ["bind" if is_bind(mount) else value]
    return [value]


def is_bind(mount: dict[str, Any]) -> bool:
    """A bind mount is one by its options, whatever its type says (runtime-spec config.md "Mounts")."""
    options = mount.get("options") or ()
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def forbidden(config: Config, invocation: Config, rules: tuple[tuple[Selector, str], ...]) -> str:
    """mounts.forbid: `rules` are selectors and messages."""
    _check(config)
    for mount in sources.mounts_of(config, invocation):
        for selector, message in rules:
            if is_selected(mount, selector):
                return message or f"the mount of {_described(mount)} on {mount.get('destination')} is not allowed"
    return ""


def _check(config: Config) -> list[dict[str, Any]]:
    mounts = config.get("mounts") or []
    if not isinstance(mounts, list) or not all(isinstance(mount, dict) for mount in mounts):
        raise Fault("/mounts must be a list of objects")
    return mounts


def _described(mount: dict[str, Any]) -> str:
    source = mount.get("source")
    if isinstance(source, sources.Source) and source.facts and source.real and normpath(source) not in source.real:
        return f"{source} (really {' or '.join(source.real)})"
    return str(source)


def add(draft: Draft, mounts: tuple[dict[str, Any], ...]) -> None:
    """mounts.add: those that are not there."""
    present = draft.list("mounts")
    for mount in mounts:
        if not any(same(mount, other) for other in present):
            present.append(mount)


def make_read_only(draft: Draft, selectors: tuple[Selector, ...]) -> None:
    """mounts.readOnly: the selected mounts, and what remounts one of them later; the rootfs where it is selected."""
    _check(draft.root)
    places = set()
    for number, mount in enumerate(sources.mounts_of(draft.root, draft.invocation)):
        destination = mount.get("destination")
        destination = destination.real if isinstance(destination, sources.Destination) else "/"
        is_again = "remount" in (mount.get("options") or ()) and destination in places
        if not is_again and not any(is_selected(mount, selector) for selector in selectors):
            continue
        if number == len(draft.root.get("mounts") or ()):
            draft.object("root")["readonly"] = True
            continue
        places.add(destination)
        draft.own(("mounts",))[number] = {**draft.root["mounts"][number], "options": _read_only(mount)}
    draft.invocation.pop("mounts", None)  # which remembers what was changed here


def _read_only(mount: dict[str, Any]) -> list[str]:
    """`ro` is for the topmost mount of a recursive bind alone, `rro` for all of them (mount_setattr(2))."""
    options = mount.get("options") or ()
    source = mount.get("source")
    is_deep = "rbind" in options and isinstance(source, sources.Source) and source.has_mounts_below
    return [*(option for option in options if option not in _WRITABILITY), "rro" if is_deep else "ro"]
