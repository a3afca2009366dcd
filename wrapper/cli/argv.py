"""The argument vector, read as runc reads it: urfave/cli v1 on Go's flag package.

Sources: urfave/cli v1 `app.go`, `command.go`, `context.go`, `parse.go`; Go's `flag` package; runc's `main.go` and
`utils.go` (checkArgs).
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from typing import Any

from hookrun.runtime.errors import quoted
from hookrun.wrapper.cli import grammar, values

PROGRAM = "program"
COMMAND = "command"
OPTION = "option"
VALUE = "value"
ARGUMENT = "argument"
TERMINATOR = "terminator"

ADD_HOOKS_OPTIONS = ("hook-config-path", "runtime-path")


class Answer:
    """What a command line asks to be shown instead of being run.

    `heading` goes to stdout, then the help on `topic` (None: no help, "": the whole program); `error` is then logged.
    An `early` answer is given before --log and --root are looked at.
    """

    __slots__ = ("early", "error", "heading", "status", "topic", "version")

    def __init__(
        self,
        *,
        heading: str = "",
        topic: str | None = None,
        error: str = "",
        status: int = 0,
        early: bool = False,
        version: bool = False,
    ) -> None:
        self.heading = heading
        self.topic = topic
        self.error = error
        self.status = status
        self.early = early
        self.version = version


class Call:
    """A command line with its meaning.

    `globals` and `options` hold every flag of the grammar under its long name, given or not; `given` the long names
    of the command's flags that were given. `roles` says of each word of `argv` what it is and, for options and their
    values, the flag's long name. With an `answer`, there is nothing to run.
    """

    __slots__ = ("answer", "arguments", "argv", "command", "given", "globals", "options", "roles")

    def __init__(self, argv: Sequence[bytes]) -> None:
        self.argv = list(argv)
        self.roles: list[tuple[str, str]] = [(ARGUMENT, "")] * len(argv)
        self.globals: dict[str, Any] = {}
        self.command = ""
        self.options: dict[str, Any] = {}
        self.given: set[str] = set()
        self.arguments: list[str] = []
        self.answer: Answer | None = None

    @property
    def container(self) -> str:
        """The container id, "" for a command without one."""
        return self.arguments[0] if self.arguments else ""

    def written(self, changes: dict[str, str] | None = None) -> list[bytes]:
        """The argument vector again, byte for byte, with the values of the options in `changes` replaced.

        The words of options that oci-add-hooks understands are left out: they are ours, not the next runtime's.
        """
        changes = changes or {}
        return [
            _changed(word, role, name, changes)
            for word, (role, name) in zip(self.argv, self.roles, strict=True)
            if name not in ADD_HOOKS_OPTIONS
        ]


def _changed(word: bytes, role: str, name: str, changes: dict[str, str]) -> bytes:
    if name not in changes:
        return word
    if role == VALUE:
        return os.fsencode(changes[name])
    flag, equals, _ = word.partition(b"=")
    return flag + equals + os.fsencode(changes[name]) if equals else word


class _BadFlags(Exception):
    """The text of Go's flag package, or of urfave/cli, for flags that cannot be understood."""


class _TwoForms(_BadFlags):
    """A flag given under two of its names."""


def parse(argv: Sequence[bytes]) -> Call:
    """Read a command line, `argv[0]` being the program. Never fails: a wrong line has an `answer`."""
    call = Call(argv)
    words = list(map(os.fsdecode, argv))
    call.roles[0] = (PROGRAM, "")
    try:
        rest = _read_globals(call, words)
    except _TwoForms as problem:
        call.answer = Answer(heading=f"{problem}\n", topic="", error=str(problem), status=1, early=True)
    except _BadFlags as problem:
        call.answer = Answer(
            heading=f"Incorrect Usage. {problem}\n\n", topic="", error=str(problem), status=1, early=True
        )
    else:
        call.answer = _global_answer(call.globals) or _read_command(call, words, rest)
    return call


def _read_globals(call: Call, words: list[str]) -> list[int]:
    flags = _Flags(grammar.GLOBALS, call.globals)
    try:
        return flags.read(words, list(range(1, len(words))), call.roles)
    finally:
        flags.check_forms()  # urfave/cli reports two forms of a flag even after another error


def _global_answer(options: dict[str, Any]) -> Answer | None:
    if options["help"]:
        return Answer(topic="", early=True)
    return Answer(version=True, early=True) if options["version"] else None


def _read_command(call: Call, words: list[str], rest: list[int]) -> Answer | None:
    if not rest:
        return Answer(topic="")
    name = words[rest[0]]
    command = grammar.command(name)
    if command is None:
        return _help_on(name)
    call.roles[rest[0]] = (COMMAND, "")
    call.command = command.name
    flags = _Flags((*command.flags, grammar.HELP), call.options)
    order = _reordered(words, rest[1:], flags.names) if command.reorder else rest[1:]
    try:
        order = flags.read(words, order, call.roles)
        flags.check_forms()
    except _BadFlags as problem:
        return Answer(heading=f"Incorrect Usage: {problem}\n\n", topic=command.name, error=str(problem), status=1)
    call.given = flags.given
    call.arguments = [words[index] for index in order]
    return _command_answer(call, command, words[0])


def _command_answer(call: Call, command: grammar.Command, program: str) -> Answer | None:
    if call.options.pop("help"):
        return Answer(topic=command.name)
    if command is grammar.HELP_COMMAND:
        return _help_on(call.arguments[0]) if call.arguments else Answer(topic="")
    problem = _count_problem(command, len(call.arguments))
    if not problem:
        return None
    error = f"{program}: {quoted(command.name)} requires {problem} argument(s)"
    return Answer(heading="Incorrect Usage.\n\n", topic=command.name, error=error, status=1)


def _help_on(name: str) -> Answer:
    if not name or grammar.command(name):
        return Answer(topic=name)
    # urfave/cli prints this error with a newline of its own, which is then part of what is logged.
    return Answer(error=f"No help topic for '{name}'\n", status=3)


def _count_problem(command: grammar.Command, count: int) -> str:
    if command.least == command.most:
        return "" if count == command.least else f"exactly {command.least}"
    if count < command.least:
        return f"a minimum of {command.least}"
    return f"a maximum of {command.most}" if command.most != grammar.UNLIMITED and count > command.most else ""


def _reordered(words: list[str], order: list[int], names: Container[str]) -> list[int]:
    """Flags first, arguments after them, as urfave/cli's reorderArgs guesses: a word after a flag without `=` goes
    with it, whether the flag takes a value or not; what looks like a flag but is none of ours stays an argument."""
    flags: list[int] = []
    others: list[int] = []
    value_follows = False
    for position, index in enumerate(order):
        is_flag = _looks_like_flag(words[index], names)
        if words[index] == "--" and not value_follows:
            return [*flags, index, *others, *order[position + 1 :]]
        if is_flag or value_follows:
            flags.append(index)
        else:
            others.append(index)
        value_follows = is_flag and "=" not in words[index]
    return flags + others


def _looks_like_flag(word: str, names: Container[str]) -> bool:
    if word[:1] != "-" or word in ("-", "--"):
        return False
    name = word[2:].removeprefix("-") if word[1] == "-" else word[1:]
    return name.partition("=")[0] in names


def _drop_empty(texts: list[str]) -> None:
    """urfave/cli takes the default of a list of strings for a list of one empty string, and takes that out again."""
    if len(texts) > 1 and "" in texts:
        texts.remove("")


def _value(kind: str, text: str) -> bool | int | str:
    if kind in (grammar.STRING, grammar.STRINGS):
        return text
    if kind == grammar.BOOL and text == "true":
        return True
    return values.PARSERS[kind](text)


class _Flags:
    """Go's flag.FlagSet over flags of the grammar; the values go to `found`, under the flags' long names."""

    __slots__ = ("_flags", "_found", "_spelled", "given", "names")

    def __init__(self, flags: tuple[grammar.Flag, ...], found: dict[str, Any]) -> None:
        self._flags = flags
        self.names = {name: flag for flag in flags for name in flag.names}
        self._found = found
        self._spelled: set[str] = set()
        self.given: set[str] = set()
        for flag in flags:
            found[flag.name] = flag.initial()

    def read(self, words: list[str], order: list[int], roles: list[tuple[str, str]]) -> list[int]:
        """Read flags off the front of the words at `order`; returns where the other words are."""
        position = 0
        while position < len(order):
            index = order[position]
            word = words[index]
            if len(word) < 2 or word[0] != "-":
                break
            position += 1
            if word == "--":
                roles[index] = (TERMINATOR, "")
                break
            name, equals, text = word[2 if word[1] == "-" else 1 :].partition("=")
            flag = self._named(name, word)
            roles[index] = (OPTION, flag.name)
            if not equals and flag.kind != grammar.BOOL:
                if position == len(order):
                    raise _BadFlags(f"flag needs an argument: -{name}")
                roles[order[position]] = (VALUE, flag.name)
                text = words[order[position]]
                position += 1
            self._set(flag, name, text if equals or flag.kind != grammar.BOOL else "true")
        for flag in self._flags:
            if flag.kind == grammar.STRINGS:
                _drop_empty(self._found[flag.name])
        return order[position:]

    def _named(self, name: str, word: str) -> grammar.Flag:
        if not name or name[0] == "-":
            raise _BadFlags(f"bad flag syntax: {word}")
        flag = self.names.get(name)
        if flag is None:
            raise _BadFlags(f"flag provided but not defined: -{name}")
        return flag

    def _set(self, flag: grammar.Flag, spelled: str, text: str) -> None:
        try:
            value = _value(flag.kind, text)
        except ValueError as problem:
            form = "boolean value {} for" if flag.kind == grammar.BOOL else "value {} for flag"
            raise _BadFlags(f"invalid {form.format(quoted(text))} -{spelled}: {problem}") from None
        self._spelled.add(spelled)
        self.given.add(flag.name)
        if flag.kind in (grammar.STRINGS, grammar.INT64S):
            self._found[flag.name].append(value)
        else:
            self._found[flag.name] = value

    def check_forms(self) -> None:
        """urfave/cli's normalizeFlags: the long and the short name of one flag exclude each other."""
        for flag in self._flags:
            used = [name for name in flag.names if name in self._spelled]
            if len(used) > 1:
                raise _TwoForms(f"Cannot use two forms of the same flag: {used[1]} {used[0]}")
