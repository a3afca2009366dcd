"""`hookctl apply`, `history`, `rollback` and `refresh`: what is in force on this host."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from hookrun.policies import compiler, exception_lint, policy, validation
from hookrun.policies.compiler import Source
from hookrun.policies.decide import Plan
from hookrun.policies.policy import Policy
from hookrun.wrapper import snapshot
from hookrun.wrapper.admin import host as hosts
from hookrun.wrapper.admin import launcher, output, sources, store
from hookrun.wrapper.admin.host import Host
from hookrun.wrapper.admin.output import AsJson
from hookrun.wrapper.admin.sources import Sources
from hookrun.wrapper.snapshot import Content

history_app = typer.Typer(help="The snapshots applied on this host.", invoke_without_command=True)

_Policies = dict[str, tuple[Any, ...]]  # what each one does, by name

_COMPARED = [name for name in policy.Policy.__slots__ if name not in ("file", "line", "hooks")]


@dataclass
class Difference:
    """What differs between two snapshots: policies by name, other parts by name, and the lines of the files."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.parts or self.files)

    def lines(self) -> list[str]:
        """The same for people."""
        signs = (("+", self.added), ("-", self.removed), ("~", self.changed))
        policies = [f"{sign} policy {name}" for sign, names in signs for name in names]
        return [*policies, *(f"~ {part}" for part in self.parts), *self.files]

    def values(self) -> dict[str, Any]:
        """The same for JSON."""
        policies = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return {"policies": policies, "parts": self.parts, "files": self.files}


def apply(
    context: typer.Context,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --dry-run: exit status 1 if something would change.")
    ] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check settings, hooks and policies, show what changes, and put them in force."""
    host = hosts.of(context)
    found = sources.read(host)
    found.problems += validation.problems(found.policies)
    sources.demand(found)
    notes = [line for source in found.policies for line in exception_lint.ended(source)]
    new = store.content(host, found, compiler.plan(found.policies))
    old = store.running(host)
    difference = changes(host, old, new, found)
    is_same = old is not None and not difference
    if not as_json:
        _show(notes, difference, is_same=is_same)
    number = None
    if not (is_same or dry_run):
        output.confirm("Put this in force?", yes=yes)
        number = store.apply(host, new, found, message)
    if as_json:
        output.as_json({"changed": not is_same, **difference.values(), "notes": notes, "number": number})
    elif number is not None:
        typer.echo(f"in force: number {number}")
    if dry_run and not is_same:
        raise typer.Exit(int(exit_code))


def _show(notes: list[str], difference: Difference, *, is_same: bool) -> None:
    for note in notes:
        typer.echo(f"note: {note}")
    if is_same:
        typer.echo("nothing to change")
    else:
        typer.echo("\n".join(difference.lines()) if difference else "the first snapshot: no policies, no hooks")


@history_app.callback()
def history(context: typer.Context, as_json: AsJson = False) -> None:
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
    as_json: AsJson = False,
) -> None:
    """Show what differs between two snapshots."""
    host = hosts.of(context)
    old, new = (store.entry(host, number) for number in (before, after))
    difference = _difference(store.loaded(old), store.loaded(new))
    difference.files = _text_changes(old.texts, new.texts)
    if as_json:
        output.as_json({"before": before, "after": after, **difference.values()})
        return
    typer.echo("\n".join(difference.lines()) if difference else "they are the same")


def rollback(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="From `hookctl history`; the one before by default.")] = None,
    yes: output.Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put an earlier snapshot in force again. The files in the configuration's directory stay as they are."""
    output.confirm("Roll back?", yes=yes)
    host = hosts.of(context)
    now = store.roll_back(host, number)
    if as_json:
        output.as_json({"number": now})
        return
    typer.echo(f"in force: number {now}")
    typer.echo(f"The files in {host.config} are as they were: the next `hookctl apply` puts them in force again.")


def refresh(context: typer.Context, as_json: AsJson = False) -> None:
    """Write the launchers, the heap and the seal anew, as is due after an upgrade of hookrun or of Python."""
    names = launcher.refresh(hosts.of(context).state)
    if as_json:
        output.as_json({"launchers": names})
        return
    typer.echo(f"refreshed: {', '.join(names) if names else 'no launcher is registered'}")


def add_to(app: typer.Typer) -> None:
    """Add the commands to hookctl itself: they belong to no group."""
    app.command()(apply)
    app.add_typer(history_app, name="history")
    app.command()(rollback)
    app.command()(refresh)


def changes(host: Host, old: Content | None, new: Content, found: Sources) -> Difference:
    """What differs between the snapshot in force and a new one; of the files only if something else does."""
    difference = _difference(old, new)
    on_error = snapshot.on_error(str(host.state))
    if on_error != found.settings.on_error:
        difference.parts.append(f"onError: {on_error}, then {found.settings.on_error}")
    entry = store.running_entry(host)
    if difference:
        difference.files = _text_changes(entry.texts if entry else {}, found.texts)
    return difference


def difference(old: Sources, new: Sources) -> Difference:
    """What differs between two sets of files: by policy, then the lines of the files."""
    found = _policy_difference(_wherever(old.policies), _wherever(new.policies))
    found.files = _text_changes(old.texts, new.texts)
    return found


def changed_policies(before: list[Source], after: list[Source]) -> list[str]:
    """The names of the policies that are new or do something else than before."""
    difference = _policy_difference(_wherever(before), _wherever(after))
    return [*difference.added, *difference.changed]


def _difference(old: Content | None, new: Content) -> Difference:
    values = old or {}
    difference = _policy_difference(_by_name(values.get("policies")), _by_name(new["policies"]))
    difference.parts = [
        part
        for part in ("settings", "profiles", "hooks")
        if values.get(part) != new[part] and (old is not None or part == "hooks")
    ]
    return difference


def _policy_difference(before: _Policies, after: _Policies) -> Difference:
    return Difference(
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        changed=[name for name in after if name in before and before[name] != after[name]],
    )


def _by_name(plan: Plan | None) -> _Policies:
    """What each policy of a snapshot does, whatever file it stands in."""
    policies = [policy.unpacked(data) for data in plan["policies"]] if plan else []
    return {one.name: _meaning(one, one.hooks) for one in policies}


def _wherever(found: list[Source]) -> _Policies:
    """What each policy does, wherever the bundle lies that it and the programs of its hooks are part of."""
    policies = [policy.unpacked(data) for data in compiler.plan(found)["policies"]]
    return {one.name: _meaning(one, _without_place(one)) for one in policies}


def _without_place(one: Policy) -> tuple[Any, ...]:
    """A policy's hooks, the programs of its bundle named from there on."""
    place = f"{Path(one.file).absolute().parent.parent}/"
    return tuple((stage, {**hook, "path": hook["path"].removeprefix(place)}, line) for stage, hook, line in one.hooks)


def _meaning(one: Policy, hooks: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*(getattr(one, name) for name in _COMPARED), hooks)


def _text_changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for path in sorted({*old, *new}):
        before, after = old.get(path, ""), new.get(path, "")
        diff = difflib.unified_diff(before.splitlines(), after.splitlines(), path, f"{path} (new)", lineterm="", n=2)
        lines += diff
    return lines
