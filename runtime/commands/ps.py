"""`ps`: the processes of a container, as ps(1) shows them or as a list of ids (runc: ps.go)."""

from __future__ import annotations

import os

from hookrun.runtime import jsonio
from hookrun.runtime.cgroups.files import FileError
from hookrun.runtime.commands.pause import with_rights
from hookrun.runtime.container import container as containers
from hookrun.runtime.container.container import Container
from hookrun.runtime.context import Context, Options
from hookrun.runtime.errors import Failure, reason


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the processes of `arguments[0]`; the other arguments are ps(1)'s, -ef without any. Raises Failure."""
    container = containers.load(context.root, arguments[0])
    pids = with_rights(context, "ps", lambda: _pids(container))
    if options["format"] == "json":
        _print(jsonio.dumps(pids) if pids else "null")
    elif options["format"] == "table":
        _print(table(_ps(arguments[1:] or ["-ef"]), set(pids)))
    else:
        raise Failure("invalid format option")
    return 0


def _pids(container: Container) -> list[int]:
    manager = container.cgroups()
    try:
        return manager.pids()
    except FileError as error:
        if error.missing and not container.init_is_alive() and not manager.exists():
            return []
        raise FileError(f"unable to get all container pids: {error.text}", error.errno) from None


def _ps(arguments: list[str]) -> str:
    import subprocess  # brings threading, which no heap may hold

    try:
        done = subprocess.run(
            ["ps", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except FileNotFoundError:
        raise Failure('exec: "ps": executable file not found in $PATH: ') from None
    except OSError as error:
        raise Failure(f"fork/exec ps: {reason(error)}: ") from None
    output = done.stdout.decode("utf-8", "surrogateescape")
    if done.returncode:
        raise Failure(f"exit status {done.returncode}: {output}")
    return output


def table(output: str, pids: set[int]) -> str:
    """The lines of ps(1)'s output that are about these processes, and its heading. Raises Failure."""
    heading, *lines = output.split("\n")
    titles = heading.split()
    if "PID" not in titles:
        raise Failure("couldn't find PID field in ps output")
    column = titles.index("PID")
    return "\n".join([heading, *(line for line in lines if line and _number(line, column) in pids)])


def _number(line: str, column: int) -> int:
    text = line.split()[column]
    try:
        return int(text)
    except ValueError:
        raise Failure(f'unable to parse pid: strconv.Atoi: parsing "{text}": invalid syntax') from None


def _print(text: str) -> None:
    os.write(1, f"{text}\n".encode("utf-8", "surrogateescape"))
