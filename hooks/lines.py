"""On which line of a JSON or YAML file something is, for messages and for the record."""

from __future__ import annotations

_BLANK = " \t\r\n"


def of_key(text: str, key: str, number: int = 0) -> int:
    """The line, counted from 1, of the `number`th member (from 0) with that name; 0 where there is none."""
    places = _in_json(text, key) if text.lstrip()[:1] in ("{", "[") else _in_yaml(text, key)
    return places[number] if number < len(places) else 0


def _in_json(text: str, key: str) -> list[int]:
    places: list[int] = []
    start = text.find('"')
    while start >= 0:
        end = start + 1
        while end < len(text) and text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        if text[start + 1 : end] == key and text[end + 1 :].lstrip(_BLANK)[:1] == ":":
            places.append(text.count("\n", 0, start) + 1)
        start = text.find('"', end + 1)
    return places


def _in_yaml(text: str, key: str) -> list[int]:
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.lstrip("- ").replace('"', "").partition(":")[0].rstrip() == key
    ]
