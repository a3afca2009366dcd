"""The word `devices`: nodes and rules, wildcards, and what every container has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policies.support import document, judged

NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
NOTHING = {"allow": False, "access": "rwm"}
DISK = {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}
FUSE = {"type": "c", "major": 10, "minor": 229}


def refusal(word: dict[str, Any], *rules: dict[str, Any], nodes: tuple[dict[str, Any], ...] = ()) -> str:
    config = {"linux": {"devices": list(nodes), "resources": {"devices": [NOTHING, NULL, *rules]}}}
    return judged(config, document(devices=word)).denied.removeprefix("policy one: ")


def allow(kind: str | None, major: int | None, minor: int | None, access: str | None = "rwm") -> dict[str, Any]:
    rule = {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
    return {name: value for name, value in rule.items() if value is not None}


# Rules, and how the refusal names them where `allow: []` is the word; "" is allowed.
RULES: list[tuple[dict[str, Any], str]] = [
    (allow("b", 8, 0), "b 8:0 rwm"),
    (allow("b", -1, -1), "b *:* rwm"),
    (allow("b", None, None, "r"), "b *:* r"),
    (allow("a", -1, -1), "a *:* rwm"),
    (allow(None, None, None), "a *:* rwm"),
    (allow("", None, None, "w"), "a *:* w"),
    (allow("c", 1, None), "c 1:* rwm"),
    (allow("c", None, 3), "c *:3 rwm"),
    (allow("u", 1, 1), "c 1:1 rwm"),
    (allow("c", 10, 229), "c 10:229 rwm"),
    (allow("c", 1, 2, None), "c 1:2"),
    (allow("c", -1, -1, "m"), ""),
    (allow("b", None, None, "m"), ""),
    (allow("c", 136, None), ""),
    (allow("c", 5, 2), ""),
    ({**allow("b", 8, 0), "allow": False}, ""),
]


@pytest.mark.parametrize(("rule", "told"), RULES, ids=[f"{rule}" for rule, _ in RULES])
def test_nothing_but_the_standard_devices(rule: dict[str, Any], told: str) -> None:
    assert refusal({"allow": []}, rule) == (f"the device rule {told} is not allowed" if told else "")


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (DISK, "/dev/sda (b 8:0)"),
        ({**DISK, "path": "/dev/null"}, "/dev/null (b 8:0)"),
        ({"path": "/dev/mem", "type": "u", "major": 1, "minor": 1}, "/dev/mem (c 1:1)"),
        ({"path": "/dev/other", "type": "c", "major": 1, "minor": 3}, ""),
        ({"path": "/dev/pipe", "type": "p"}, ""),
    ],
)
def test_nodes(node: dict[str, Any], told: str) -> None:
    assert refusal({"allow": []}, nodes=(node,)) == (f"the device {told} is not allowed" if told else "")


def test_allowed_ones() -> None:
    word = {"allow": [{"type": "c", "major": 10, "minor": 229}, {"type": "c", "major": 195}], "message": "CIS 5.18"}
    rule = allow("c", 10, 229)
    assert refusal(word, rule, nodes=({**FUSE, "path": "/dev/fuse"},)) == ""
    assert refusal(word, allow("c", 195, None)) == ""
    assert refusal(word, allow("c", 195, 7)) == ""
    assert refusal(word, allow("c", 10, None)) == "CIS 5.18"
    assert refusal(word, allow("c", None, 229)) == "CIS 5.18"
    assert refusal(word, allow("b", 10, 229)) == "CIS 5.18"
    assert refusal(word, nodes=({**DISK, "path": "/dev/fuse"},)) == "CIS 5.18"


def test_a_rule_beside_its_node() -> None:
    """Engines write both; the node is judged, also by its path."""
    word = {"allow": [{"type": "c", "major": 10, "minor": 229, "path": "/dev/fuse"}]}
    assert refusal(word, allow("c", 10, 229), nodes=({**FUSE, "path": "/dev/fuse"},)) == ""
    assert refusal(word, allow("c", 10, 229)) == "the device rule c 10:229 rwm is not allowed"
    assert (
        refusal(word, allow("c", 10, 229), nodes=({**FUSE, "path": "/dev/x"},))
        == "the device /dev/x (c 10:229) is not allowed"
    )


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        (allow("b", 8, 0), True),
        (allow("b", -1, -1), True),
        (allow("a", None, None), True),
        (allow("b", 9, 0), True),
        (allow("c", 8, 0), False),
        (allow("b", 8, 0, "m"), False),
    ],
)
def test_forbidden_disks(rule: dict[str, Any], refused: bool) -> None:
    assert bool(refusal({"forbid": [{"type": "b", "message": "no disks"}]}, rule)) is refused


def test_forbidden_numbers_are_found_in_wildcards() -> None:
    word = {"forbid": [{"type": "c", "major": 10, "minor": 232}]}
    for rule in (allow("c", 10, 232), allow("c", 10, None), allow("c", None, None), allow("a", -1, -1)):
        assert refusal(word, rule)
    for rule in (allow("c", 10, 200), allow("c", 11, None), allow("b", None, None)):
        assert not refusal(word, rule)
    assert refusal(word, nodes=({"path": "/dev/x", "type": "c", "major": 10, "minor": 232},))


def test_a_path_means_nodes() -> None:
    word = {"forbid": [{"path": {"startsWith": "/dev/sd"}}]}
    assert refusal(word, nodes=(DISK,)) == "the device /dev/sda (b 8:0) is not allowed"
    assert not refusal(word, allow("b", 8, 0))


@pytest.mark.parametrize("devices", [7, [7], {"a": 1}])
def test_devices_of_another_form(devices: Any) -> None:
    for config in ({"linux": {"devices": devices}}, {"linux": {"resources": {"devices": devices}}}):
        assert "cannot be evaluated" in judged(config, document(devices={"allow": []})).denied
