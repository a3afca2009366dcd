"""`hookctl apply`, `history`, `rollback` and `refresh`: what is in force on this host."""

from __future__ import annotations

import difflib
import sys
from typing import Annotated, Any

import typer

from hookrun.policies import compiler, policy, validation
from hookrun.runtime.errors import Failure
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin import launcher, sources, store
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.sources import Sources

_COMPARED = [name for name in policy.Policy.__slots__ if name not in ("file", "line")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def apply(
    context: typer.Context,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
) -> None:
    """Check settings, hooks and policies, show what changes, and put them in force."""
    host = hosts.of(context)
    found = sources.read(host)
    found.problems += validation.problems(found.policies)
    sources.demand(found)
    new = store.content(host, found, compiler.plan(found.policies))
    old = store.running(host)
    lines = changes(host, old, new, found)
    if old is not None and not lines:
        typer.echo("nothing to change")
        return
    typer.echo("\n".join(lines) if lines else "the first snapshot: no policies, no hooks")
    if dry_run:
        return
    _ask(yes, "Put this in force?")
    number = store.apply(host, new, found)
    typer.echo(f"in force: number {number}")


def history(context: typer.Context) -> None:
    """List the snapshots applied on this host."""
    host = hosts.of(context)
    now = (store.running(host) or {}).get("number")
    for entry in store.history(host):
        mark = "*" if entry.number == now else " "
        typer.echo(f"{mark} {entry.number:>4}  {store.stamp(entry.applied)}  {len(entry.texts)} files")


def rollback(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="From `hookctl history`; the one before by default.")] = None,
    yes: Yes = False,
) -> None:
    """Put an earlier snapshot in force again. The files in the configuration's directory stay as they are."""
    _ask(yes, "Roll back?")
    typer.echo(f"in force: number {store.roll_back(hosts.of(context), number)}")


def refresh(context: typer.Context) -> None:
    """Write the launchers, the heap and the seal anew, as is due after an upgrade of hookrun or of Python."""
    names = launcher.refresh(hosts.of(context).state)
    typer.echo(f"refreshed: {', '.join(names) if names else 'no launcher is registered'}")


def add_to(app: typer.Typer) -> None:
    """Add the commands to hookctl itself: they belong to no group."""
    app.command()(apply)
    app.command()(history)
    app.command()(rollback)
    app.command()(refresh)


def _ask(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody to ask: add --yes")
    if not typer.confirm(question):
        raise Failure("nothing was changed")


def changes(host: Host, old: dict[str, Any] | None, new: dict[str, Any], found: Sources) -> list[str]:
    """What differs between the snapshot in force and a new one: by policy, then the lines of the files."""
    before = old or {}
    lines = _policy_changes(before.get("policies"), new["policies"])
    for part in ("settings", "profiles", "hooks"):
        if before.get(part) != new[part] and (old is not None or part == "hooks"):
            lines.append(f"~ {part}")
    on_error = snapshot.on_error(str(host.state))
    if on_error != found.settings.on_error:
        lines.append(f"~ onError: {on_error}, then {found.settings.on_error}")
    entry = store.running_entry(host)
    return lines + _text_changes(entry.texts if entry else {}, found.texts) if lines else lines


def _policy_changes(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    before, after = _by_name(old), _by_name(new)
    lines = [f"+ policy {name}" for name in after if name not in before]
    lines += [f"- policy {name}" for name in before if name not in after]
    lines += [f"~ policy {name}" for name in after if name in before and before[name] != after[name]]
    return lines


def _by_name(plan: dict[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    """What each policy does, wherever it stands."""
    policies = [policy.unpacked(data) for data in plan["policies"]] if plan else []
    return {one.name: tuple(getattr(one, name) for name in _COMPARED) for one in policies}


def _text_changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for path in sorted({*old, *new}):
        before, after = old.get(path, ""), new.get(path, "")
        diff = difflib.unified_diff(before.splitlines(), after.splitlines(), path, f"{path} (new)", lineterm="", n=2)
        lines += diff
    return lines
