"""`hookctl apply`, `history`, `rollback` and `refresh`: what is in force on this host."""

from __future__ import annotations

import difflib
import sys
from typing import Annotated, Any

import typer

from hookrun.policies import compiler, exception_lint, policy, validation
from hookrun.runtime.errors import Failure
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin import launcher, output, sources, store
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.sources import Sources

history_app = typer.Typer(help="The snapshots applied on this host.", invoke_without_command=True)

_COMPARED = [name for name in policy.Policy.__slots__ if name not in ("file", "line")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def apply(
    context: typer.Context,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit status 1 if something would change.")
    ] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")] = "",
) -> None:
    """Check settings, hooks and policies, show what changes, and put them in force."""
    host = hosts.of(context)
    found = sources.read(host)
    found.problems += validation.problems(found.policies)
    sources.demand(found)
    for line in [line for source in found.policies for line in exception_lint.ended(source)]:
        typer.echo(f"note: {line}")
    new = store.content(host, found, compiler.plan(found.policies))
    old = store.running(host)
    lines = changes(host, old, new, found)
    if old is not None and not lines:
        typer.echo("nothing to change")
        return
    typer.echo("\n".join(lines) if lines else "the first snapshot: no policies, no hooks")
    if dry_run:
        raise typer.Exit(int(exit_code))
    _ask(yes, "Put this in force?")
    number = store.apply(host, new, found, message)
    typer.echo(f"in force: number {number}")


@history_app.callback()
def history(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the snapshots applied on this host: when, by whom, the digest of their files, and why."""
    if context.invoked_subcommand:
        return
    host = hosts.of(context)
    now = (store.running(host) or {}).get("number")
    entries = store.history(host)
    if as_json:
        output.as_json([{**entry.told(), "inForce": entry.number == now} for entry in entries])
        return
    rows = [
        (
            "*" if entry.number == now else "",
            entry.number,
            store.stamp(entry.applied),
            entry.about.get("who", "-"),
            entry.digest[:12],
            len(entry.texts),
            entry.about.get("why", ""),
        )
        for entry in entries
    ]
    output.table(("", "NUMBER", "APPLIED", "BY", "DIGEST", "FILES", "WHY"), rows)


@history_app.command("diff")
def diff(
    context: typer.Context,
    before: Annotated[int, typer.Argument(metavar="A", help="A number of `hookctl history`.")],
    after: Annotated[int, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Show what differs between two snapshots."""
    host = hosts.of(context)
    old, new = (store.entry(host, number) for number in (before, after))
    lines = _differences(store.loaded(old), store.loaded(new)) + _text_changes(old.texts, new.texts)
    typer.echo("\n".join(lines) if lines else "they are the same")


def rollback(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="From `hookctl history`; the one before by default.")] = None,
    yes: Yes = False,
) -> None:
    """Put an earlier snapshot in force again. The files in the configuration's directory stay as they are."""
    _ask(yes, "Roll back?")
    host = hosts.of(context)
    typer.echo(f"in force: number {store.roll_back(host, number)}")
    typer.echo(f"The files in {host.config} are as they were: the next `hookctl apply` puts them in force again.")


def refresh(context: typer.Context) -> None:
    """Write the launchers, the heap and the seal anew, as is due after an upgrade of hookrun or of Python."""
    names = launcher.refresh(hosts.of(context).state)
    typer.echo(f"refreshed: {', '.join(names) if names else 'no launcher is registered'}")


def add_to(app: typer.Typer) -> None:
    """Add the commands to hookctl itself: they belong to no group."""
    app.command()(apply)
    app.add_typer(history_app, name="history")
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
    lines = _differences(old, new)
    on_error = snapshot.on_error(str(host.state))
    if on_error != found.settings.on_error:
        lines.append(f"~ onError: {on_error}, then {found.settings.on_error}")
    entry = store.running_entry(host)
    return lines + _text_changes(entry.texts if entry else {}, found.texts) if lines else lines


def _differences(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    before = old or {}
    lines = _policy_changes(before.get("policies"), new["policies"])
    for part in ("settings", "profiles", "hooks"):
        if before.get(part) != new[part] and (old is not None or part == "hooks"):
            lines.append(f"~ {part}")
    return lines


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
