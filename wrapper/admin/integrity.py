"""Whether hookrun's files are root's alone, and what `apply` and `register` made of them: for `hookctl doctor`."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hookrun.hooks.inject import Compiled, Entry
from hookrun.policies import compiler, exception_lint, policy
from hookrun.policies.compiler import Source
from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import ownership
from hookrun.wrapper.admin import engines, files, registrations, store
from hookrun.wrapper.admin.engines.engine import Engine
from hookrun.wrapper.admin.finding import BAD, GOOD, NOTE, Finding
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.registrations import Registration
from hookrun.wrapper.admin.sources import Sources
from hookrun.wrapper.snapshot import Content
from hookrun.wrapper.start import program

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_IN_CONTAINER = "startContainer"


def owners(machine: Host, found: Sources) -> Iterator[Finding]:
    """Every place through which others than root could change what hookrun does."""
    places = list(_places(machine, found))
    weak = list(dict.fromkeys(filter(None, map(_weakest, places))))
    for place in weak:
        yield Finding(BAD, place, _owner(place), f"who can write there is root on this host: `{_mended(place)}`")
    if not weak:
        yield Finding(GOOD, "files", f"users other than root can write none of {len(places)} files and directories")


def _places(machine: Host, found: Sources) -> Iterator[Path]:
    hooks = found.settings.hooks
    directories = [*hooks["directories"], *hooks["cdi"]["directories"]]
    tops = [machine.settings_file, *(machine.config / file for file in hooks["addHooks"])]
    folders = [machine.config, machine.policies, machine.state, machine.launchers, machine.history, machine.fleet]
    folders += [machine.config / directory for directory in directories]
    for folder in dict.fromkeys(folders):
        yield from (folder, *_inside(folder))
    for entry in _inside(machine.history):
        yield from _inside(entry)
    yield from tops


def _inside(folder: Path) -> list[Path]:
    """What lies in a directory. The heap has a check of its own; the seal is a mount."""
    try:
        return [path for path in sorted(folder.iterdir()) if path.name != program.HEAP]
    except OSError:
        return []


def _weakest(path: Path) -> str:
    try:
        return ownership.weakest_of_all(str(path))
    except OSError:  # there is none, or only root can see it
        return ""


def _owner(place: str) -> str:
    return ownership.described(os.lstat(place))


def _mended(place: str) -> str:
    """The commands that take a place away from others."""
    status, name = os.lstat(place), shlex.quote(place)
    commands = [f"chown -h root {name}"] if status.st_uid not in (0, os.geteuid()) else []
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & _OTHERS_WRITE:
        commands.append(f"chmod go-w {name}")
    return "; ".join(commands)


def hook_programs(content: Content) -> Iterator[Finding]:
    """The program of every hook in the snapshot that could not run, or that others could change."""
    programs = dict(_programs(content))
    wrong = [finding for path, file in programs.items() for finding in _program(path, file)]
    yield from wrong
    if programs and not wrong:
        count = len(programs)
        yield Finding(GOOD, "hook programs", f"{count} program{'s' if count > 1 else ''}, all there")


def _programs(content: Content) -> Iterator[tuple[str, str]]:
    """Each program with the file that names it; those of startContainer lie in the container."""
    for entry in content["hooks"]["entries"]:
        if set(entry["stages"]) != {_IN_CONTAINER}:
            yield entry["hook"]["path"], entry["file"]
    for one in map(policy.unpacked, content["policies"]["policies"]):
        yield from ((hook["path"], one.file) for stage, hook, _ in one.hooks if stage != _IN_CONTAINER)


def _program(path: str, file: str) -> Iterator[Finding]:
    subject = "hook programs"
    try:
        place = ownership.weakest(path)
        is_file = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        advice = f"put it back, or take the hook out of {file} and `hookctl apply`"
        yield Finding(BAD, subject, f"{path}: {reason(error)}", advice)
        return
    if place:
        yield Finding(BAD, subject, f"{path}: {place}: {_owner(place)}", f"`{_mended(place)}`")
    if not is_file:
        yield Finding(BAD, subject, f"{path}: not a file", f"name a program in {file}, then `hookctl apply`")
    elif not os.access(path, os.X_OK):
        yield Finding(BAD, subject, f"{path}: it can't be executed", f"`chmod +x {shlex.quote(path)}`")


def sources(machine: Host, content: Content, found: Sources) -> Iterator[Finding]:
    """What `apply` would refuse, and how the files differ from those that the snapshot was made of."""
    for problem in found.problems:
        yield Finding(NOTE, "configuration", problem, "fix it, then `hookctl apply`: the snapshot stays in force")
    entry = store.running_entry(machine)
    changed = list(_changes(entry.texts if entry else {}, found.texts))
    if not found.problems and not changed:
        changed = [*_compiled_otherwise(content, found.policies), *_hooks_changed(content, found.hooks)]
    for text in changed:
        yield Finding(NOTE, "configuration", text, "`hookctl apply` puts that in force, if it is intended")
    if not found.problems and not changed:
        yield Finding(GOOD, "configuration", f"{machine.config} is what is in force")
    for text in (line for source in found.policies for line in exception_lint.ended(source)):
        yield Finding(NOTE, "exceptions", text, "take it out, or give it another end, then `hookctl apply`")


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for path in sorted({*before, *now}):
        if path not in now:
            yield f"{path}: removed since `hookctl apply`"
        elif path not in before:
            yield f"{path}: new since `hookctl apply`"
        elif before[path] != now[path]:
            yield f"{path}: changed since `hookctl apply`"


def _compiled_otherwise(content: Content, now: list[Source]) -> Iterator[str]:
    """Policies whose files are the same, but not what they name: a seccomp profile."""
    in_force = {policy.unpacked(data).name: data for data in content["policies"]["policies"]}
    plan = compiler.plan(now)["policies"]
    changed = {policy.unpacked(data).name for data in plan if in_force.get(policy.unpacked(data).name) != data}
    for one in now:
        if one.name in changed:
            named = ", ".join(_files_named(one.document.value.get("spec"))) or "this hookrun compiles it differently"
            yield f"policy {one.name}: what it names changed since `hookctl apply`: {named}"


def _files_named(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _files_named(part)
    elif isinstance(value, str) and value.startswith("/") and os.path.isfile(value):
        yield value


def _hooks_changed(content: Content, now: Compiled) -> Iterator[str]:
    yield from _changes(*(_by_file(part["entries"]) for part in (content["hooks"], now)))


def _by_file(entries: list[Entry]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        found.setdefault(entry["file"], []).append(entry)
    return found


def registered(noted: list[Registration]) -> Iterator[Finding]:
    """What `register` wrote and is not in effect any more."""
    for one in noted:
        engine = engine_of(one)
        try:
            runtime = engine.runtime(one.name)
        except Failure:  # said of the engine itself
            continue
        again = f"`{registering(engine, one.name, *(['--default'] if one.default else []))}`"
        if runtime is None or os.path.basename(runtime.path) != one.name:
            text = f"{one.changed}: the runtime {one.name}, which `register` put there, is gone"
            yield Finding(BAD, one.engine, text, f"{again}, or unregister it")
        elif one.default and not runtime.is_default:
            text = f"{one.name} is not the default any more, which `register --default` made it"
            yield Finding(BAD, one.engine, text, f"{again}, or the same without --default if that is intended")
        yield from _drop_ins(engine, one)


def _drop_ins(engine: Engine, one: Registration) -> Iterator[Finding]:
    for path, digest in one.drop_ins.items():
        text = files.read(Path(path))
        if registrations.digest(text) == digest:
            continue
        units = Path(path).parent.parent
        what = "is gone" if text is None else "is not what `register --only` wrote"
        advice = f"`{registering(engine, one.name, '--only')} --unit-directory {shlex.quote(str(units))}`"
        yield Finding(BAD, engine.name, f"{path} {what}: image builds may go past hookrun", advice)


def engine_of(one: Registration) -> Engine:
    """The engine that was registered with, its configuration where it is."""
    return engines.of(engines.Kind(one.engine), Path(one.file))


def registering(engine: Engine, name: str, *options: str) -> str:
    """The command that registers a runtime with an engine (again)."""
    file = ("--file", shlex.quote(str(engine.file))) if engine.file != engine.default_file else ()
    named = ("--name", name) if name else ()
    return " ".join(("hookctl engine register", engine.name, *named, *options, *file))
