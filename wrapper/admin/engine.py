"""`hookctl engine`: registering hookrun with container engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from loguru import logger

from hookrun.runtime.errors import Failure
from hookrun.wrapper.admin import engines, host, launcher, output, registrations
from hookrun.wrapper.admin.engines import daemon, monitors, stock_runc
from hookrun.wrapper.admin.engines.engine import Change, Engine
from hookrun.wrapper.admin.standing import Standing, names, problem_of

app = typer.Typer(help="Register hookrun with container engines.", no_args_is_help=True)

Kind = Annotated[engines.Kind, typer.Argument(metavar="ENGINE", help="The engine's name.")]
Name = Annotated[str, typer.Option("--name", help="The runtime's name, which chooses its profile too.")]
File = Annotated[
    Path | None,
    typer.Option("--file", "--daemon-json", help="The engine's configuration, if it is not in the usual place."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change without making it.")]
Reload = Annotated[bool, typer.Option("--reload", help="Make the engine take up the change: reload or restart it.")]
Units = Annotated[
    Path, typer.Option("--unit-directory", help="Where drop-ins of systemd units go, if not in the usual place.")
]


@app.command()
def register(
    context: typer.Context,
    engine: Kind,
    name: Name = "hookrun",
    default: Annotated[bool, typer.Option("--default", help="Make it what containers run with.")] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Have the stock name runc lead to it too, for image builds as well.")
    ] = False,
    file: File = None,
    units: Units = stock_runc.UNIT_DIRECTORY,
    dry_run: DryRun = False,
    reload: Reload = False,
    as_json: output.AsJson = False,
) -> None:
    """Have an engine know hookrun as a runtime, by a launcher of that name."""
    launcher.check_name(name)
    told = Told(in_json=as_json)
    state = host.of(context).state
    program = launcher.path_of(state, name)
    chosen = engines.of(engine, file)
    _refuse_strangers(chosen, name, program)
    change = chosen.register(name, program, default)
    drop_ins = stock_runc.changes(chosen, units.absolute(), program.parent) if only else []
    if dry_run:
        for one in (change, *drop_ins):
            told.plan(one)
        told.end()
        return
    with registrations.locked(state):
        is_new = not program.exists()
        launcher.install(state, name)
        try:
            _make(chosen, change, told, reload=reload)
        except Failure:
            if is_new and chosen.runtime(name) is None:
                launcher.remove(state, name)
            raise
        registrations.note(state, chosen, name, change, drop_ins)
        if only:
            launcher.install(state, stock_runc.NAME)
            _make_drop_ins(chosen, drop_ins, told, reload=reload)
    found = chosen.runtime(name)
    if default and not (found and found.is_default):
        logger.warning("{} is not the default: a file that is read later than {} names another", name, change.path)
    told.note(f"Use it: {chosen.usage(name, program)}")
    told.end()


@app.command()
def unregister(
    context: typer.Context,
    engine: Kind,
    name: Name = "hookrun",
    file: File = None,
    units: Units = stock_runc.UNIT_DIRECTORY,
    dry_run: DryRun = False,
    reload: Reload = False,
    as_json: output.AsJson = False,
) -> None:
    """Take hookrun away from an engine; the default runtime, and the name runc, are again what they were before."""
    launcher.check_name(name)
    told = Told(in_json=as_json)
    state = host.of(context).state
    program = launcher.path_of(state, name)
    chosen = engines.of(engine, file)
    change = registrations.put_back(state, chosen, name, chosen.unregister(name, program))
    others = [one for one in chosen.runtimes() if one.name != name and chosen.is_ours(one, program.parent)]
    drop_ins = [] if others else stock_runc.undone(chosen, units.absolute())
    if dry_run:
        for one in (change, *drop_ins):
            told.plan(one)
        told.end()
        return
    with registrations.locked(state):
        _make(chosen, change, told, reload=reload)
        registrations.forget(state, chosen, name, change)
        _make_drop_ins(chosen, drop_ins, told, reload=reload)
        if drop_ins:
            _remove_stock(state, told)
        _remove_unused(state, name, told)
    left = chosen.runtime(name)
    if left:
        logger.warning("{} still names the runtime {}: remove it there", left.file, name)
    told.end()


class Told:
    """What a command says of its work: to people a line at once, or all of it as JSON at the end."""

    def __init__(self, *, in_json: bool) -> None:
        self._in_json = in_json
        self._changes: list[dict[str, Any]] = []
        self._notes: list[str] = []

    def plan(self, change: Change) -> None:
        """A change that is not made."""
        self._changes.append({"file": str(change.path), "diff": change.diff()})
        if not self._in_json:
            typer.echo(f"{change.path}: nothing to change" if change.is_none else change.diff(), nl=change.is_none)

    def done(self, change: Change, kept: Path | None = None) -> None:
        """A change that was made; `kept` is the copy of the file before."""
        done = "unchanged" if change.is_none else "removed" if change.after is None else "written"
        self._changes.append({"file": str(change.path), "done": done, "kept": str(kept or "")})
        if not self._in_json:
            typer.echo(f"{change.path}: {'nothing to change' if change.is_none else done}")

    def note(self, text: str) -> None:
        """Anything else that the operator should know or do."""
        self._notes.append(text)
        if not self._in_json:
            typer.echo(text)

    def end(self) -> None:
        if self._in_json:
            output.as_json({"changes": self._changes, "notes": self._notes})


def _refuse_strangers(engine: Engine, name: str, program: Path) -> None:
    """Raises Failure if the engine has a runtime of this name that is not hookrun."""
    found = engine.runtime(name)
    if found and not engine.is_ours(found, program.parent):
        what = f", {found.path}" if found.path else ""
        raise Failure(f"{found.file}: another runtime has the name {name}{what}: choose another by --name")


def _remove_unused(state: Path, name: str, told: Told) -> None:
    """Take a launcher away that nobody calls any more."""
    program = launcher.path_of(state, name)
    users = _users(state, program)
    if users:
        told.note(f"{program}: kept for {', '.join(users)}")
    elif watching := monitors.that_call(program):
        pids = ", ".join(map(str, watching))
        told.note(f"{program}: kept, for containers run by it (their processes {pids}); unregister again without them")
    else:
        launcher.remove(state, name)


@app.command("list")
def list_engines(context: typer.Context, as_json: output.AsJson = False) -> None:
    """Show the engines of this host and how hookrun is registered with each."""
    machine = host.of(context)
    found = [Standing.of(engine, machine) for engine in engines.found()]
    if as_json:
        output.as_json([standing.values() for standing in found])
        return
    rows = [[one.engine.name, names(one.ours), one.default, str(one.engine.file), one.problem] for one in found]
    output.table(("ENGINE", "HOOKRUN AS", "DEFAULT", "FILE", "PROBLEM"), rows)


@app.command()
def status(context: typer.Context, engine: Kind, file: File = None, as_json: output.AsJson = False) -> None:
    """Show an engine's runtimes; exit status 1 where hookrun is not among them, or can't be executed."""
    standing = Standing.of(engines.of(engine, file), host.of(context))
    if as_json:
        output.as_json(standing.values())
    else:
        _describe(standing)
    if standing.problem or not standing.ours or any(problem_of(runtime) for runtime in standing.ours):
        raise typer.Exit(1)


def _describe(standing: Standing) -> None:
    engine = standing.engine
    if engine.unit:
        running = f"running, process {', '.join(map(str, standing.pids))}" if standing.pids else ""
        typer.echo(f"{engine.program}: {running or f'not running with {engine.file}'}")
    if standing.problem:
        typer.echo(standing.problem)
        return
    rows = [
        [
            runtime.name + (" (default)" if runtime.is_default else ""),
            "yes" if runtime in standing.ours else "no",
            runtime.path or "-",
            str(runtime.file),
            problem_of(runtime) if runtime in standing.ours else "",
        ]
        for runtime in standing.runtimes
    ]
    output.table(("RUNTIME", "HOOKRUN", "PROGRAM", "FILE", "PROBLEM"), rows)
    if not standing.ours:
        typer.echo(f"hookrun is not registered: `hookctl engine register {engine.name}`")


def _users(state: Path, program: Path) -> list[str]:
    """The engines that still call a launcher. One whose files can't be read may."""
    noted = {engines.of(engines.Kind(one.engine), Path(one.file)) for one in registrations.all_of(state)}
    users = []
    for engine in (*engines.found(), *noted):
        try:
            uses = any(runtime.path == str(program) for runtime in engine.runtimes())
        except Failure as failure:
            logger.warning(failure.text)
            uses = True
        if uses:
            users.append(engine.name)
    return list(dict.fromkeys(users))


def _make_drop_ins(engine: Engine, changes: list[Change], told: Told, *, reload: bool) -> None:
    for change in changes:
        change.make()
        told.done(change)
        if change.after is None:
            stock_runc.tidy(change)
    if changes:
        told.note(stock_runc.restart(engine) if reload else stock_runc.advice(engine))


def _remove_stock(state: Path, told: Told) -> None:
    program = launcher.path_of(state, stock_runc.NAME)
    if using := stock_runc.users(program.parent):
        pids = ", ".join(map(str, using))
        told.note(f"{program}: kept for processes that find it as runc ({pids}); remove it when they have ended")
    else:
        launcher.remove(state, stock_runc.NAME)


def _make(engine: Engine, change: Change, told: Told, *, reload: bool) -> None:
    """Make the change, a copy of the old file beside it, and have the engine take it up or say how."""
    if change.is_none:
        told.done(change)
    else:
        copy = change.back_up()
        if copy is not None:
            logger.info("the previous file is kept as {}", copy)
        interim = engine.interim(change)
        if interim and reload:
            interim.make()
            daemon.take_up(engine, interim)
            change = dataclasses.replace(change, before=interim.after)
        change.make()
        told.done(change, copy)
        if interim and not reload:
            logger.warning("{} forgets a runtime or a default only at a restart, or by --reload", engine.program)
    if reload:
        told.note(daemon.take_up(engine, change))
    elif not change.is_none and daemon.advice(engine):
        told.note(daemon.advice(engine))
