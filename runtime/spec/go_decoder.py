"""What Go's typed decoder, and so runc, makes of an object: keys in any case and twice, and null for "not given".

Without it a config could say one thing to policies and another to the runtime behind them. It is done where JSON comes
in, before anybody looks. Only names of fields are meant: the keys of maps (annotations, sysctl, unified) stay.
Source: Go's encoding/json, "preferring exact matches but also accepting case-insensitive matches", by its foldName.
"""

from __future__ import annotations

from typing import Any

from hookrun.runtime.jsonio import Repeated


def normalize(value: Any, form: Any) -> bool:
    """Bring a value of a form from `shape` into the spec's spelling, in place.

    Returns whether another decoder might read it otherwise: not for a null, which is "not given" for all.

    Of two keys for one field the later counts; two objects are merged, and two lists of objects one by one. What is
    not of the form stays, for `shape.check` to complain about.
    """
    if type(form) is list:
        return type(value) is list and _normalize_list(value, form[0])
    if type(value) not in _OBJECTS:
        return False
    every = form.get("*")
    if every is not None:
        return _normalize_map(value, every)
    changed = False
    if isinstance(value, Repeated) or not value.keys() <= form.keys():
        changed = _fold(value, form)
    if None in value.values():
        _drop_nulls(value, form)
    for name, element in value.items():
        if type(element) in _CONTAINERS:
            inner = form.get(name)
            if type(inner) is dict or (type(inner) is list and (inner[0] is not str or None in element)):
                changed = normalize(element, inner) or changed
    return changed


_OBJECTS = (dict, Repeated)
_CONTAINERS = (*_OBJECTS, list)


def _normalize_list(value: list[Any], form: Any) -> bool:
    """A list's null is its elements' zero value."""
    changed = None in value
    if changed:
        value[:] = [_zero(form) if element is None else element for element in value]
    if type(form) is dict:
        for element in value:
            changed = normalize(element, form) or changed
    return changed


def _zero(form: Any) -> Any:
    """The value of a variable of Go's that nothing was written to."""
    return 0 if type(form) is tuple else type(form)() if type(form) in _CONTAINERS else form()


def _normalize_map(value: dict[str, Any], form: Any) -> bool:
    """A map's null is its elements' zero value."""
    changed = bool(_pairs(value))
    if form is str and None in value.values():
        for name in [name for name, element in value.items() if element is None]:
            value[name] = ""
            changed = True
    elif type(form) is dict:
        for element in value.values():
            changed = normalize(element, form) or changed
    return changed


def _fold(value: dict[str, Any], form: dict[str, Any]) -> bool:
    """Put what stands under another spelling of a field under the field's own name, in the order of the text."""
    fields = {name.lower(): name for name in form}
    names = {name: name if name in form else fields.get(_folded(name), name) for name in value}
    given = _pairs(value)
    if not given and all(name == own for name, own in names.items()):
        return False
    given = given or list(value.items())
    value.clear()
    for name, element in given:
        own = names[name]
        value[own] = _merged(value[own], element, form.get(own)) if own in value else element
    return True


def _pairs(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """What an object has more than once, in the text's order, for this one time; [] if nothing."""
    if not isinstance(value, Repeated):
        return []
    pairs, value.pairs = value.pairs, []
    return pairs


def _folded(name: str) -> str:
    """Of the letters outside ASCII, two fold into it: the Kelvin sign, which `lower` knows, and the long s."""
    return name.lower().replace("\u017f", "s")


def _merged(before: Any, after: Any, form: Any) -> Any:
    """A field that is given twice, as the decoder leaves it: null is not given, but for what can be absent."""
    if isinstance(before, dict) and isinstance(after, dict) and type(form) is dict:
        normalize(before, form)
        normalize(after, form)
        every = form.get("*")
        if every is not None:  # an element of a map is decoded anew
            return {**before, **after}
        merged = {name: _merged(before.get(name), element, form.get(name)) for name, element in after.items()}
        return {**before, **merged}
    if type(before) is list and type(after) is list and type(form) is list and type(form[0]) is dict:
        common = [_merged(*two, form[0]) for two in zip(before, after, strict=False)]
        return common + after[len(common) :]
    return before if after is None and type(form) not in _CONTAINERS else after


def _drop_nulls(value: dict[str, Any], form: dict[str, Any]) -> None:
    for name in [name for name, element in value.items() if element is None and name in form]:
        del value[name]
