"""Command lines that a profile's own runtime knows more of than runc does: kata-runtime's and runsc's flags."""

from __future__ import annotations

import os

from hookrun.wrapper.cli import argv, grammar
from hookrun.wrapper.cli.argv import Call


def understood(call: Call) -> Call:
    """What can be understood of a command line that `argv.parse` has an error for; its words stay as they are.

    Unknown flags are passed over, so that bundle and container are still known to policies and hooks. Whether one takes
    the next word for its value can't be known: it does, unless that is a flag, a command, or an argument that would be
    missing. An unknown command is left to the runtime; a line that is wrong otherwise keeps its answer.
    """
    kept = list(range(len(call.argv)))
    found = call
    while _is_wrong(found) and (at := _unknown_flag(found)):
        kept = _without_flag(call, found, kept, at)
        found = _parsed(call, kept)
    roles = [(argv.ARGUMENT, "")] * len(call.argv)
    for index, role in zip(kept, found.roles, strict=True):
        roles[index] = role
    found.argv, found.roles = call.argv, roles
    if not found.command:
        found.answer = None
    return found


def _is_wrong(found: Call) -> bool:
    return found.answer is not None and bool(found.answer.error)


def _unknown_flag(found: Call) -> int:
    """Where the first flag is that nobody knows, 0 if there is none."""
    command = grammar.command(found.command)
    for position, (word, (role, _)) in enumerate(zip(found.argv, found.roles, strict=True)):
        if word == b"--":
            break
        if role == argv.ARGUMENT:
            if word[:1] == b"-" and len(word) > 1:
                return position
            if command is None or not command.reorder:
                break
    return 0


def _without_flag(call: Call, found: Call, kept: list[int], at: int) -> list[int]:
    """The kept words less the flag, and less its value if it has one."""
    alone = kept[:at] + kept[at + 1 :]
    with_value = kept[:at] + kept[at + 2 :]
    if b"=" in found.argv[at] or at + 1 == len(kept) or found.argv[at + 1][:1] == b"-":
        return alone
    if not found.command:
        return alone if grammar.command(os.fsdecode(found.argv[at + 1])) else with_value
    rest = _parsed(call, with_value)
    return alone if _is_wrong(rest) and not _unknown_flag(rest) else with_value


def _parsed(call: Call, kept: list[int]) -> Call:
    return argv.parse([call.argv[index] for index in kept])
