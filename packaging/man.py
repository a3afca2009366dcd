"""Writes hookrun(8), hookctl(1) and hookrun-policy(5) from what the programs themselves know of their command lines.

    PYTHONPATH=DIRECTORY-WITH-hookrun python3 packaging/man.py OUTPUT-DIRECTORY

hookrun's page comes from the table that its parser reads, hookctl's from typer's tree of commands, the policies' from
policies/README.md. Format: groff_man(7).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hookrun.wrapper import VERSION
from hookrun.wrapper.admin.app import app
from hookrun.wrapper.cli import grammar, help

POLICY_GUIDE = Path(__file__).parents[1] / "policies/README.md"
# The help shows the one of who asks for it.
ROOTS = "default: /run/hookrun, for an ordinary user $XDG_RUNTIME_DIR/hookrun"
_ROFF = str.maketrans({"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"})
HOOKCTL_FILES = (
    ("/etc/hookrun/config.yaml", "Settings: profiles, the record, what is masked, what happens on errors."),
    ("/etc/hookrun/policies.d/*.yaml", "Policies, see hookrun-policy(5)."),
    ("/etc/hookrun/hooks.d/*.json", "Hooks in the format of oci-hooks(5)."),
    ("/var/lib/hookrun/fleet/bundles/", "What the fleet has for this host; ${bundle} in its hooks."),
)
HOOKRUN_FILES = (
    ("/var/lib/hookrun/snapshot", "Settings, hooks and policies in force, written by hookctl apply."),
    ("/var/lib/hookrun/launchers/", "The programs that engines are told to call, written by hookctl engine register."),
    ("/var/log/hookrun/", "The record of all calls, shown by hookctl trace."),
)


def main(directory: Path) -> None:
    """Write the pages into a directory that exists."""
    for page, lines in {
        "hookrun.8": hookrun_page(),
        "hookctl.1": hookctl_page(),
        "hookrun-policy.5": policy_page(POLICY_GUIDE.read_text(encoding="utf-8")),
    }.items():
        (directory / page).write_text("\n".join(lines) + "\n", encoding="utf-8")


def hookrun_page() -> Iterator[str]:
    """The lines of hookrun(8)."""
    about, _, details = help.ABOUT.partition("\n\n")
    yield from _head("hookrun", "8", about)
    yield from _synopsis("hookrun", "[global options] command [command options] [arguments]")
    yield ".SH DESCRIPTION"
    yield escaped(details.partition("\n\n    #")[0])
    yield from _options("GLOBAL OPTIONS", _flags(grammar.GLOBALS))
    yield ".SH COMMANDS"
    for command in (*grammar.COMMANDS, grammar.HELP_COMMAND):
        yield f".SS {bold(command.name)} {escaped(command.arguments)}".rstrip()
        yield escaped(_sentence(help.DETAILS.get(command.name) or command.usage))
        for term, text in _flags(command.flags):
            yield from _definition(term, text)
    yield from _options("FILES", HOOKRUN_FILES)
    yield from _see_also("hookctl(1)", "hookrun-policy(5)", "runc(8)")


def _flags(flags: Iterable[grammar.Flag]) -> Iterator[tuple[str, str]]:
    for flag in flags:
        if not flag.hidden:
            yield help.forms(flag), f"{flag.usage} ({ROOTS})" if flag.name == "root" else help.described(flag)


def hookctl_page() -> Iterator[str]:
    """The lines of hookctl(1)."""
    root = typer.main.get_command(app)
    yield from _head("hookctl", "1", "the tool of hookrun's operators")
    yield from _synopsis("hookctl", "[options] command [command options] [arguments]")
    yield ".SH DESCRIPTION"
    yield escaped(root.help or "")
    yield from _options("OPTIONS", [*_parameters(root), (_help_option(root), "Show the help. Every command has it.")])
    yield ".SH COMMANDS"
    yield from _commands(root, "hookctl")
    yield from _options("FILES", HOOKCTL_FILES)
    yield from _see_also("hookrun(8)", "hookrun-policy(5)")


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
            continue
        arguments = " ".join(_metavar(one) for one in command.params if one.param_type_name == "argument")
        yield f".SS {bold(f'{path} {name}')} {escaped(arguments)}".rstrip()
        yield escaped(command.help or "")
        for term, text in _parameters(command):
            yield from _definition(term, text)


def _parameters(command: Any) -> Iterator[tuple[str, str]]:
    """Terms and texts of a command's arguments and options, but for its help option."""
    for one in command.params:
        if one.param_type_name == "argument":
            if one.help:
                yield _metavar(one), one.help
        elif not one.hidden:
            value = "" if one.is_flag or one.count else f" {_metavar(one)}"
            yield ", ".join(f"{name}{value}" for name in (*one.opts, *one.secondary_opts)), _described(one)


def _help_option(command: Any) -> str:
    return ", ".join(command.context_settings["help_option_names"])


def _described(option: Any) -> str:
    """An option's help, its default and its environment variable."""
    text = option.help or ""
    if option.default and isinstance(option.default, str | int | Path) and not option.is_flag:
        text += f" Default: {option.default}."
    return f"{text} Environment: {option.envvar}." if option.envvar else text


def _metavar(parameter: Any) -> str:
    name: str = parameter.metavar or parameter.name.upper()
    return name


def policy_page(guide: str) -> Iterator[str]:
    """The lines of hookrun-policy(5), from the guide in Markdown."""
    yield from _head("hookrun-policy", "5", "what a container may do, and what is changed about it")
    yield ".SH DESCRIPTION"
    yield from _Roff(MarkdownIt("commonmark").enable("table").parse(guide)).lines()
    yield from _see_also("hookctl(1)", "hookrun(8)")


class _Roff:
    """Markdown's tokens as groff_man(7): headings, paragraphs, lists, tables of two columns, code."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._cells: list[str] = []
        self._in_item = False

    def lines(self) -> Iterator[str]:
        previous = ""
        for token in self._tokens:
            if token.type == "inline":
                yield from self._text(previous, token)
            elif token.type == "list_item_open":
                yield ".IP \\(bu 2"
            elif token.type == "tr_close" and self._cells:
                yield from (".TP", *self._cells)
                self._cells = []
            elif token.type == "fence":
                yield from (".PP", ".EX", *map(escaped, token.content.splitlines()), ".EE")
            self._in_item = (self._in_item or token.type == "list_item_open") and token.type != "list_item_close"
            previous = f"{token.type} {token.tag}"

    def _text(self, opening: str, token: Token) -> Iterator[str]:
        text = _inline(token.children or [])
        if opening == "heading_open h2":
            yield f".SH {text.upper()}"
        elif opening.startswith("td"):
            self._cells.append(text)
        elif opening.startswith("paragraph"):
            yield from ([text] if self._in_item else [".PP", text])


def _inline(children: list[Token]) -> str:
    parts: list[str] = []
    for child in children:
        if child.type == "code_inline":
            parts.append(bold(child.content))
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type in ("strong_open", "strong_close"):
            parts.append("\\fB" if child.type == "strong_open" else "\\fR")
        else:
            parts.append(escaped(child.content))
    return "".join(parts)


def _head(name: str, section: str, about: str) -> Iterator[str]:
    yield f'.TH {name.upper()} {section} "" "hookrun {VERSION}" "hookrun"'
    yield ".nh"
    yield ".ad l"
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(about)}"


def _synopsis(name: str, words: str) -> Iterator[str]:
    yield from (".SH SYNOPSIS", f"{bold(name)} {escaped(words)}")


def _options(heading: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {heading}"
    for term, text in rows:
        yield from _definition(term, text)


def _definition(term: str, text: str) -> Iterator[str]:
    yield from (".TP", bold(term), escaped(text))


def _see_also(*pages: str) -> Iterator[str]:
    yield from (".SH SEE ALSO", ", ".join(bold(page[:-3]) + page[-3:] for page in pages))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].rstrip(".") + "."


def bold(text: str) -> str:
    return f"\\fB{escaped(text)}\\fR"


def escaped(text: str) -> str:
    """Text that roff takes as it is: no escapes, no requests at the start of a line, hyphens that can be copied."""
    plain = text.translate(_ROFF)
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in plain.split("\n"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
