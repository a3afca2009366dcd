"""The help and version texts, in the layout of runc's (urfave/cli v1 `template.go`). Loaded only when asked for."""

from __future__ import annotations

import os
import sys

from hookrun.runtime import SPEC_VERSION
from hookrun.runtime.context import default_root
from hookrun.wrapper import VERSION
from hookrun.wrapper.cli import grammar
from hookrun.wrapper.cli.values import duration_text

ABOUT = """records every call, adds hooks and policies, and runs the container

hookrun is an OCI runtime that a container engine calls in runc's place. It accepts
runc's command line, writes each call to its record, and patches the bundle's
config.json with the hooks and policies that the host is configured with. The tool
for its operators is hookctl.

    # hookrun run [ -b bundle ] <container-id>"""

DETAILS = {
    "create": "Makes the container of a bundle, which is a directory with a config.json and a root\n"
    "filesystem. Its process waits until it is told to go on with start.",
    "run": "Makes the container of a bundle, starts its process, waits for it, and deletes the\n"
    "container. The exit status is that of the process.",
    "events": "Prints one JSON object per event, and a statistics object each interval.",
    "exec": "",
    "spec": "Writes a config.json for a shell in a root filesystem named rootfs.",
    "checkpoint": "Saves the container's processes with CRIU.",
    "restore": "Brings the container's processes back with CRIU.",
    "features": "Prints what the runtime supports, in the format of the runtime-spec's features.md.",
}


def version() -> str:
    """What --version prints; dockerd reads the first line and `commit:`, Podman all of it."""
    return f"hookrun version {_version_lines()}\n"


def _version_lines() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{VERSION}\nspec: {SPEC_VERSION}\npython: {python}"


def text(topic: str, program: str) -> str:
    """The help on a command, or with "" as topic on the whole program, which was called as `program`."""
    name = os.path.basename(program)
    if topic in grammar.HELP_NAMES:
        return _command_text(grammar.HELP_COMMAND, name)
    command = grammar.command(topic)
    return _command_text(command, name) if command else _program_text(name)


def _program_text(name: str) -> str:
    commands = [(command.name, command.usage) for command in grammar.COMMANDS]
    commands.append((", ".join(grammar.HELP_NAMES), grammar.HELP_COMMAND.usage))
    return (
        f"NAME:\n   hookrun - {ABOUT}\n\n"
        f"USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n"
        f"VERSION:\n   {_version_lines()}\n\n"
        f"COMMANDS:\n   {_table(commands)}\n\n"
        f"GLOBAL OPTIONS:\n   {_table(_rows(grammar.GLOBALS))}\n"
    )


def _command_text(command: grammar.Command, name: str) -> str:
    rows = _rows(command.flags)
    options = " [command options]" if rows else ""
    parts = [
        f"NAME:\n   {name} {command.name} - {command.usage}\n",
        f"USAGE:\n   {name} {command.name}{options} {command.arguments or '[arguments...]'}\n",
    ]
    if DETAILS.get(command.name):
        parts.append(f"DESCRIPTION:\n   {DETAILS[command.name]}\n")
    if rows:
        parts.append(f"OPTIONS:\n   {_table(rows)}\n   \n")
    return "\n".join(parts)


def _rows(flags: tuple[grammar.Flag, ...]) -> list[tuple[str, str]]:
    return [(forms(flag), described(flag)) for flag in flags if not flag.hidden]


def forms(flag: grammar.Flag) -> str:
    """A flag's spellings, with `value` behind each that takes one."""
    value = "" if flag.kind == grammar.BOOL else " value"
    return ", ".join(f"{'-' if len(name) == 1 else '--'}{name}{value}" for name in flag.names)


def described(flag: grammar.Flag) -> str:
    """A flag's usage and its default."""
    default = _default(flag)
    return f"{flag.usage} (default: {default})" if default else flag.usage


def _default(flag: grammar.Flag) -> str:
    if flag.name == "root":
        return f'"{default_root()}"'
    if flag.kind == grammar.STRING:
        return f'"{flag.default}"' if flag.default else ""
    if flag.kind == grammar.DURATION:
        return duration_text(int(flag.initial()))  # type: ignore[arg-type]
    return str(flag.default) if flag.kind == grammar.INT else ""


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows) + 2
    return "\n   ".join(f"{left:<{width}}{right}" for left, right in rows)
