"""Writes the completions of hookrun and hookctl for bash, zsh and fish.

    PYTHONPATH=DIRECTORY-WITH-hookrun python3 packaging/completions.py OUTPUT-DIRECTORY

hookrun's come from the table that its parser reads and ask hookrun itself for nothing but container ids; hookctl's are
typer's own, which ask hookctl at each key. The files are NAME.bash, NAME.zsh and NAME.fish.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hookrun.wrapper.admin.app import app
from hookrun.wrapper.cli import grammar

SHELLS = ("bash", "zsh", "fish")
_DIRECTORIES = ("root", "bundle", "image-path", "work-path", "parent-path")
_BASH = """# bash completion of hookrun
_hookrun() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command="" flags="" takes_id="" word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        %(names)s) command=$word; break ;;
        esac
    done
    COMPREPLY=()
    case $before in
    %(directories)s) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    %(values)s) compopt -o default; return ;;
    esac
    case $command in
%(cases)s
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "%(words)s" -- "$current")
    elif [[ -n $takes_id ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(hookrun list -q 2>/dev/null)" -- "$current")
    fi
}
complete -F _hookrun hookrun
"""
_ZSH = """#compdef hookrun
_hookrun_containers() {
    local -a containers=(${(f)"$(hookrun list -q 2>/dev/null)"})
    compadd -a containers
}
local context state state_descr line
typeset -A opt_args
_arguments -C %(globals)s '1:command:->command' '*::argument:->arguments'
case $state in
command)
    local -a commands=(%(commands)s)
    _describe command commands
    ;;
arguments)
    case $words[1] in
%(cases)s
    esac
    ;;
esac
"""
_FISH = """# fish completion of hookrun
set -l commands %(words)s
complete -c hookrun -f
"""


def main(directory: Path) -> None:
    """Write the files into a directory that exists."""
    for shell, text in (("bash", bash()), ("zsh", zsh()), ("fish", fish())):
        (directory / f"hookrun.{shell}").write_text(text, encoding="utf-8")
        (directory / f"hookctl.{shell}").write_text(hookctl(shell), encoding="utf-8")


def hookctl(shell: str) -> str:
    """The script by which this shell asks hookctl, as `hookctl --show-completion` prints it in there."""
    os.environ["_HOOKCTL_COMPLETE"] = f"source_{shell}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        app(prog_name="hookctl", args=[])
    script = printed.getvalue().strip() + "\n"
    # As a file of zsh's function path it is loaded by the first completion, and has to make that too.
    return script.replace("compdef _hookctl_completion hookctl", '_hookctl_completion "$@"')


def bash() -> str:
    """hookrun's completion for bash."""
    cases = [f"    '') flags={_quoted(' '.join(_spellings(grammar.GLOBALS)))} ;;"]
    for command in grammar.COMMANDS:
        takes_id = " takes_id=yes" if _takes_id(command) else ""
        flags = " ".join(_spellings((*command.flags, grammar.HELP)))
        cases.append(f"    {command.name}) flags={_quoted(flags)}{takes_id} ;;")
    flags_with_value = [flag for flag in _all_flags() if flag.kind != grammar.BOOL]
    words = _words()
    return _BASH % {
        "names": "|".join(words),
        "directories": "|".join(_spellings(flag for flag in flags_with_value if flag.name in _DIRECTORIES)),
        "values": "|".join(_spellings(flag for flag in flags_with_value if flag.name not in _DIRECTORIES)),
        "cases": "\n".join(cases),
        "words": " ".join(words),
    }


def zsh() -> str:
    """hookrun's completion for zsh."""
    cases = []
    for command in grammar.COMMANDS:
        rest = "'1:container:_hookrun_containers' '*:argument:_files'" if _takes_id(command) else ""
        cases.append(f"    {command.name}) _arguments {_zsh_flags((*command.flags, grammar.HELP))} {rest} ;;")
    commands = " ".join(_quoted(f"{command.name}:{command.usage}") for command in _commands())
    return _ZSH % {"globals": _zsh_flags(grammar.GLOBALS), "commands": commands, "cases": "\n".join(cases)}


def _zsh_flags(flags: tuple[grammar.Flag, ...]) -> str:
    """The flags as `_arguments` takes them: spelling, [description], and for a value :message:action."""
    specifications = []
    for flag in flags:
        if flag.hidden:
            continue
        action = "_directories" if flag.name in _DIRECTORIES else "_files"
        value = "" if flag.kind == grammar.BOOL else f":{flag.name}:{action}"
        usage = re.sub(r"([][:])", r"\\\1", flag.usage)
        repeat = "*" if flag.kind in (grammar.STRINGS, grammar.INT64S) else ""
        specifications += [_quoted(f"{repeat}{name}[{usage}]{value}") for name in _spellings([flag])]
    return " ".join(specifications)


def fish() -> str:
    """hookrun's completion for fish."""
    lines = [_FISH % {"words": " ".join(_words())}]
    no_command = "'not __fish_seen_subcommand_from $commands'"
    for command in _commands():
        lines.append(f"complete -c hookrun -n {no_command} -a {command.name} -d {_quoted(command.usage)}\n")
    lines += _fish_flags(no_command, grammar.GLOBALS)
    for command in grammar.COMMANDS:
        condition = f"'__fish_seen_subcommand_from {command.name}'"
        lines += _fish_flags(condition, (*command.flags, grammar.HELP))
        if _takes_id(command):
            lines.append(f"complete -c hookrun -n {condition} -a '(hookrun list -q 2>/dev/null)'\n")
    return "".join(lines)


def _fish_flags(condition: str, flags: tuple[grammar.Flag, ...]) -> Iterator[str]:
    for flag in flags:
        if not flag.hidden:
            names = " ".join(f"-{'s' if len(name) == 1 else 'l'} {name}" for name in flag.names)
            value = "" if flag.kind == grammar.BOOL else " -r -F"
            yield f"complete -c hookrun -n {condition} {names}{value} -d {_quoted(flag.usage)}\n"


def _all_flags() -> Iterator[grammar.Flag]:
    yield from grammar.GLOBALS
    for command in grammar.COMMANDS:
        yield from command.flags


def _spellings(flags: Iterable[grammar.Flag]) -> list[str]:
    """All spellings of the flags that are shown, each once."""
    found: dict[str, None] = {}
    for flag in flags:
        if not flag.hidden:
            found.update(dict.fromkeys(f"{'-' if len(name) == 1 else '--'}{name}" for name in flag.names))
    return list(found)


def _commands() -> tuple[grammar.Command, ...]:
    return (*grammar.COMMANDS, grammar.HELP_COMMAND)


def _words() -> list[str]:
    return [command.name for command in _commands()]


def _takes_id(command: grammar.Command) -> bool:
    """Whether the first argument is a container that is there: `create`, `run` and `restore` bring a new one."""
    return command.arguments.startswith("<container-id>") and command.name not in ("create", "run", "restore")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
