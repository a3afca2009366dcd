"""`hookctl trace`: what the engines really asked for."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from loguru import logger

from hookrun.runtime.errors import Failure, reason
from hookrun.wrapper import settings, snapshot
from hookrun.wrapper.admin import host, output
from hookrun.wrapper.admin.output import AsJson, harmless
from hookrun.wrapper.admin.trace import diff as trace_diff
from hookrun.wrapper.admin.trace import prune as trace_prune
from hookrun.wrapper.admin.trace import replay as trace_replay
from hookrun.wrapper.admin.trace import show as trace_show
from hookrun.wrapper.admin.trace import stats as trace_stats
from hookrun.wrapper.admin.trace import timeline as trace_timeline
from hookrun.wrapper.admin.trace.export.formats import EXPORTERS, Format
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import is_audited, is_denied, is_failed
from hookrun.wrapper.admin.trace.store import Names, Query, Store, parsed_time
from hookrun.wrapper.record.line import Decision, InjectedHook, Line, Operation

app = typer.Typer(help="See what the engines really asked for.", no_args_is_help=True)


Directory = Annotated[
    Path | None, typer.Option("--directory", help="The record's directory, if it is not the one in the settings.")
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Start of a call's id, or of a container's.")]
Full = Annotated[bool, typer.Option("--full", help="Show large changes field by field, too.")]
Container = Annotated[str, typer.Option("--container", help="Only calls of containers whose id starts so.")]
Engine = Annotated[str, typer.Option("--engine", help="Only calls of this engine: docker, podman, kubernetes ...")]
Command = Annotated[str, typer.Option("--command", help="Only this command: create, start, state ...")]
Policy = Annotated[str, typer.Option("--policy", help="Only calls that this policy judged.")]
Since = Annotated[str, typer.Option("--since", help="Only calls after: 15m, 2h, 3d ago, or a date and time.")]
Until = Annotated[str, typer.Option("--until", help="Only calls before.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only calls that failed.")]
Denied = Annotated[bool, typer.Option("--denied", help="Only calls that a policy denied.")]
Audited = Annotated[bool, typer.Option("--audited", help="Only calls that a policy in audit mode would have denied.")]


_LONGEST = 86400  # seconds that a replay may be given


@app.callback()
def choose_record(context: typer.Context, directory: Directory = None) -> None:
    """Options that all trace commands share."""
    context.meta["record"] = directory


def store_of(context: typer.Context) -> Store:
    """The record that the command line, or the host's settings, chose. A user's own is not the host's: that is said."""
    chosen: Path | None = context.meta["record"]
    directory = chosen.absolute() if chosen else directory_of(host.of(context))
    if os.geteuid() and not chosen:
        logger.warning("this is your own record, {}: only root can read the host's", directory)
    return Store(directory)


def directory_of(machine: host.Host) -> Path:
    """Where the settings in force put the record."""
    return Path(settings_of(machine).record_directory)


def settings_of(machine: host.Host) -> settings.Settings:
    """The host's settings in force."""
    state = str(machine.state)
    return settings.chosen(snapshot.load(state).content, "", state)


def query_of(
    container: str,
    engine: str,
    command: str,
    policy: str,
    since: str,
    until: str,
    failed: bool,
    denied: bool,
    audited: bool,
) -> Query:
    """The filters of a command line. Raises Failure for what can't be understood."""
    return Query(
        container=container,
        engine=engine,
        command=command,
        policy=policy,
        since=parsed_time(since) if since else None,
        until=parsed_time(until) if until else None,
        failed=failed,
        denied=denied,
        audited=audited,
    )


@app.command("list")
def list_calls(
    context: typer.Context,
    container: Container = "",
    engine: Engine = "",
    command: Command = "",
    policy: Policy = "",
    since: Since = "",
    until: Until = "",
    failed: Failed = False,
    denied: Denied = False,
    audited: Audited = False,
    last: Annotated[int, typer.Option("--last", min=0, help="Only this many of the newest; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List calls, the newest last."""
    query = query_of(container, engine, command, policy, since, until, failed, denied, audited)
    store = store_of(context)
    names = Names(store)
    calls = store.select(query, last or None)
    if as_json:
        output.as_json_list({**call, "name": names.of(call)} for call in calls)
    elif last:
        found = list(calls)
        output.table(HEADINGS, [row(call, names) for call in found], map(style, found), whole=WHOLE)
    else:  # too many, maybe, to measure columns first
        for cells in itertools.chain([HEADINGS], (row(call, names) for call in calls)):
            typer.echo(output.line(cells, WIDTHS))


@app.command("show")
def show(context: typer.Context, call: Id, full: Full = False, as_json: AsJson = False) -> None:
    """Show all about a call; why it failed comes first."""
    store = store_of(context)
    found = store.find(call)
    name, end = Names(store).of(found), store.end_of(found)
    if as_json:
        output.as_json({**found, "name": name, "harm": end.get("harm") or {}})
        return
    _print(trace_show.describe(found, name, end))
    if full and found["config"] and found["config"]["patch"]:
        _print(["", "Changes"])
        _print_changes(_before_or_none(store, found), found["config"]["patch"], full=True)


@app.command("diff")
def diff(
    context: typer.Context,
    call: Id,
    patch: Annotated[bool, typer.Option("--patch", help="Print the change as an RFC 6902 patch.")] = False,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Show what hookrun changed in a call's config."""
    store = store_of(context)
    found = store.find(call)
    if not found["config"]:
        raise Failure(f"call {found['id']}: `{found['command']}` has no config to change, or failed before it")
    if patch:
        output.as_json(found["config"]["patch"])
        return
    if as_json:
        changes = trace_diff.by_field(_before_or_none(store, found), found["config"]["patch"])
        output.as_json([{"sign": sign, "path": path, "value": value} for sign, path, value in changes])
        return
    if not found["config"]["patch"]:
        typer.echo("nothing was changed")
        return
    _print_changes(_before_or_none(store, found), found["config"]["patch"], full=full)


@app.command("config")
def config(
    context: typer.Context,
    call: Id,
    after: Annotated[
        bool, typer.Option("--after/--before", help="What the container ran with, or what the engine wrote.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which a config is anyway.")] = False,
) -> None:
    """Print a call's config.json, secrets masked."""
    store = store_of(context)
    found = store.find(call)
    output.as_json(store.after(found) if after else store.before(found))


@app.command("tail")
def tail(
    context: typer.Context,
    container: Container = "",
    engine: Engine = "",
    command: Command = "",
    policy: Policy = "",
    failed: Failed = False,
    denied: Denied = False,
    audited: Audited = False,
    last: Annotated[int, typer.Option("--last", min=0, help="Begin with this many earlier calls.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show calls as they happen, a line each, until ^C."""
    query = query_of(container, engine, command, policy, "", "", failed, denied, audited)
    out = output.console()
    store = store_of(context)
    names = Names(store)
    try:
        for found in store.follow(last):
            if not query.fits(found, names.of(found)):
                continue
            if as_json:
                typer.echo(json.dumps({**found, "name": names.of(found)}))
            else:
                out.print(output.line(row(found, names), WIDTHS), style=style(found), soft_wrap=True)
    except KeyboardInterrupt:
        raise typer.Exit from None


@app.command("timeline")
def timeline(
    context: typer.Context,
    container: Annotated[str, typer.Argument(metavar="CONTAINER", help="Start of a container's id.")],
    as_json: AsJson = False,
) -> None:
    """Show a container's calls in order, the gaps between them, and how long the engine waited in each."""
    store = store_of(context)
    name = store.container(container)
    found = list(trace_timeline.steps(list(store.select(Query(container=name, exact=True)))))
    if as_json:
        output.as_json([step.as_dict() for step in found])
        return
    total = max(step.start + step.waited for step in found)
    rows = [
        [step.start, step.gap, step.waited, step.call["command"], step.call["id"], trace_show.outcome(step.call),
         trace_timeline.bar(step, total), step.call["error"]]
        for step in found
    ]  # fmt: skip
    label = " ".join(filter(None, (Names(store).of(found[0].call), name)))
    typer.echo(f"container {label}, from {found[0].call['time']}, times in ms")
    headings = ("START", "GAP", "WAITED", "COMMAND", "ID", "RESULT", "TIMELINE", "ERROR")
    output.table(headings, rows, [style(step.call) for step in found])
    typer.echo(trace_timeline.summary(found))


@app.command("stats")
def stats(
    context: typer.Context,
    container: Container = "",
    engine: Engine = "",
    command: Command = "",
    policy: Policy = "",
    since: Since = "",
    until: Until = "",
    failed: Failed = False,
    denied: Denied = False,
    audited: Audited = False,
    as_json: AsJson = False,
) -> None:
    """Count calls, failures and refusals, and show p50, p95, p99 in ms; the slowest hooks and policies."""
    query = query_of(container, engine, command, policy, since, until, failed, denied, audited)
    index = store_of(context).index()
    parts = {name: function(index, query) for name, function in STATISTICS.items()}
    if as_json:
        output.as_json(parts)
        return
    for name, rows in parts.items():
        if rows:
            typer.echo(f"{name}, times in ms")
            output.table([key.upper() for key in rows[0]], [list(row.values()) for row in rows])
            typer.echo()


STATISTICS = {"calls": trace_stats.calls, "hooks": trace_stats.hooks, "policies": trace_stats.policies}


@app.command("replay")
def replay(
    context: typer.Context,
    call: Id,
    rootfs: Annotated[
        Path | None, typer.Option("--rootfs", help="Root filesystem, if the bundle's own is gone.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what hookrun would decide now.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, max=_LONGEST, help="Seconds after which it is ended; 0 for never.")
    ] = 30,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Run a call again: a container of the recorded config, apart from the engine's."""
    store = store_of(context)
    found = store.find(call)
    if as_json and not dry_run:
        raise Failure("--json needs --dry-run: without it, all that is printed is the container's output")
    if not dry_run:
        raise typer.Exit(trace_replay.run(store, found, rootfs, timeout))
    outcome, patch = trace_replay.decide(store, found, host.of(context).state)
    decisions, hooks = cast(list[Decision], outcome.decisions), cast(list[InjectedHook], outcome.hooks)
    if as_json:
        output.as_json({"denied": outcome.denied, "decisions": decisions, "hooks": hooks, "patch": patch})
        return
    _print(trace_show.decided(decisions, hooks))
    typer.echo(f"denied: {outcome.denied}" if outcome.denied else "it would run")
    _print_changes(store.before(found), patch, full=full)


@app.command("export")
def export(
    context: typer.Context,
    form: Annotated[Format, typer.Option("--format", help="What to write.")],
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output by default.")
    ] = None,
    container: Container = "",
    engine: Engine = "",
    command: Command = "",
    policy: Policy = "",
    since: Since = "",
    until: Until = "",
    failed: Failed = False,
    denied: Denied = False,
    audited: Audited = False,
    last: Annotated[int, typer.Option("--last", min=0, help="Only this many of the newest; 0 for all.")] = 5000,
) -> None:
    """Write calls as a report in HTML, for Perfetto, for OpenTelemetry, or as CSV."""
    query = query_of(container, engine, command, policy, since, until, failed, denied, audited)
    text = EXPORTERS[form](Selection(store_of(context), query, last or None))
    if to is None:
        sys.stdout.writelines(text)
        return
    try:
        with open(to, "w", encoding="utf-8", newline="", opener=_private) as file:
            file.writelines(text)
    except OSError as error:
        raise Failure(f"cannot write {to}: {reason(error)}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@app.command("push")
def push(
    context: typer.Context,
    endpoint: Annotated[
        str, typer.Option("--endpoint", envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="The collector's URL.")
    ] = "http://127.0.0.1:4318",
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Send to an OpenTelemetry collector what was recorded since the last time, by OTLP over HTTP."""
    try:
        from hookrun.wrapper.admin.trace import push as trace_push  # hookctl's other commands do without OpenTelemetry
    except ImportError:
        raise Failure("`hookctl trace push` needs OpenTelemetry: pip install 'hookrun[fleet]'") from None
    found = host.of(context)
    chosen = directory or directory_of(found)
    count = trace_push.push(chosen, found.state / "push.json", endpoint)
    output.tell(f"{count} calls sent", {"sent": count}, in_json=as_json)


@app.command("prune")
def prune(
    context: typer.Context,
    max_total: Annotated[int | None, typer.Option("--max-total", min=0, help="Bytes, else record.maxTotal.")] = None,
    max_age: Annotated[int | None, typer.Option("--max-age", min=0, help="Seconds, else record.maxAge.")] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Begin a new file now, not only after a day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is old or too much, compress configs that are not used any more, and renew the index."""
    chosen = settings_of(host.of(context))
    limits = trace_prune.Limits(
        chosen.record_max_total if max_total is None else max_total,
        chosen.record_max_age if max_age is None else max_age,
    )
    done = trace_prune.prune(store_of(context).directory, limits, rotate)
    if as_json:
        output.as_json(asdict(done))
        return
    if done.rotated:
        typer.echo("the current file was rotated")
    typer.echo(f"removed {done.removed_files} files, {done.removed_bytes} bytes")
    typer.echo(f"compressed {done.compressed} configs, {done.saved_bytes} bytes saved")


def _print_changes(before: Any, patch: list[Operation], *, full: bool) -> None:
    out = output.console()
    for sign, path, value in trace_diff.by_field(before, patch, full=full):
        out.print(trace_diff.line(sign, harmless(path), value), style=COLOURS[sign], soft_wrap=True)


def _before_or_none(store: Store, call: Line) -> Any:
    try:
        return store.before(call)
    except Failure as failure:
        logger.warning(failure.text)
        return None


COLOURS = {trace_diff.ADDED: "green", trace_diff.REMOVED: "red", trace_diff.LARGE: "yellow"}
WIDTHS = (24, 12, 10, 8, 16, 6, 8, 7, 0)
WHOLE = ("ID", "CONTAINER")
HEADINGS = ("TIME", "ID", "ENGINE", "COMMAND", "CONTAINER", "STATUS", "MS", "POLICY", "ERROR")


def row(call: Line, names: Names) -> list[object]:
    """A call in a table's line."""
    status = "-" if call["status"] is None else call["status"]
    time = f"{call['time'][:23]}Z"
    ended = (status, call["milliseconds"], refusal(call), call["error"] or trace_show.harm(call))
    return [time, call["id"], call["engine"], call["command"], names.label(call), *ended]


def refusal(call: Line) -> str:
    """Whether policies refused the call, or in audit mode would have, in a word."""
    if is_denied(call):
        return "denied"
    return "audited" if is_audited(call) else "-"


def style(call: Line) -> str:
    """The colour of a call's line."""
    return "red" if is_failed(call) else ""


def _print(lines: Iterable[str]) -> None:
    """Print lines; titles stand out on a terminal."""
    out = output.console()
    for line in lines:
        out.print(line, style="bold" if line and not line.startswith(" ") and "  " not in line else "", soft_wrap=True)
