"""`hookctl report`: what policies refused, and what those in audit mode would have refused."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from hookrun.policies.policy import Policy as Compiled
from hookrun.wrapper.admin import host, output
from hookrun.wrapper.admin import store as snapshots
from hookrun.wrapper.admin.trace import app as trace
from hookrun.wrapper.admin.trace import audit as trace_audit
from hookrun.wrapper.admin.trace.export import as_policy_report
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.store import Query, parsed_time

_NUMBERS = ("CALLS", "DENIED", "CHANGED", "WOULD DENY", "WOULD CHANGE")
_WHEN = ("FIRST", "LAST", "EXAMPLE")
_KEYS = ("calls", "denied", "changed", "would_deny", "would_change", "first", "last", "example")


def report(
    context: typer.Context,
    directory: trace.Directory = None,
    container: trace.Container = "",
    engine: trace.Engine = "",
    policy: trace.Policy = "",
    since: trace.Since = "",
    until: trace.Until = "",
    running: Annotated[bool, typer.Option("--running", help="Only containers that run on this host now.")] = False,
    policy_report: Annotated[
        bool,
        typer.Option(
            "--policy-report", help="Print a ClusterPolicyReport in JSON, for those who look with Kyverno's tools."
        ),
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Sum up by policy and by container what was denied and changed, and what policies in audit mode would have."""
    trace.choose_record(context, directory)
    query = Query(
        container=container,
        engine=engine,
        policy=policy,
        since=parsed_time(since) if since else None,
        until=parsed_time(until) if until else None,
    )
    store = trace.store_of(context)
    index = store.index()
    alive = trace_audit.running(index)
    only = alive if running else None
    known = snapshots.policies(host.of(context))
    if policy_report:
        sys.stdout.writelines(as_policy_report.render(Selection(store, query, containers=only, policies=known)))
        return
    found = trace_audit.report(index, query, only)
    policies = [
        {"policy": name, **_about(known.get(name)), "containers": len(said.names - {""}), **_timed(said.values())}
        for name, said in sorted(found.policies.items())
    ]
    containers = [
        {
            "container": name,
            "name": index.called(name),
            "engine": found.engines[name],
            "running": name in alive,
            "policies": sorted(said.names),
            **_timed(said.values()),
        }
        for name, said in found.containers.items()
        if name and said.is_to_tell
    ]
    if as_json:
        output.as_json({"policies": policies, "containers": containers})
        return
    _print(policies, containers)


def _about(one: Compiled | None) -> dict[str, str]:
    """Whose a policy is and how much it matters, as it is in force; "" where it is not, or does not say."""
    return {"severity": one.severity if one else "", "owner": one.owner if one else ""}


def _timed(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: _moment(values[name]) for name in ("first", "last")}


def _moment(seconds: float) -> str:
    """UTC to the second, as RFC 3339 writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print(policies: list[dict[str, Any]], containers: list[dict[str, Any]]) -> None:
    if not policies:
        typer.echo("no policy had a say in these calls")
        return
    output.table(
        ("POLICY", "SEVERITY", "OWNER", "CONTAINERS", *_NUMBERS, *_WHEN),
        [
            (row["policy"], row["severity"] or "-", row["owner"] or "-", row["containers"], *_numbers(row))
            for row in policies
        ],
    )
    typer.echo()
    if not containers:
        typer.echo("nothing was denied or changed, or would have been")
        return
    output.table(
        ("CONTAINER", "ENGINE", "RUNNING", *_NUMBERS, *_WHEN, "POLICIES"),
        [
            (_label(row), row["engine"], _yes(row["running"]), *_numbers(row), " ".join(row["policies"]))
            for row in containers
        ],
    )


def _numbers(row: dict[str, Any]) -> list[Any]:
    return [row[key] for key in _KEYS]


def _label(row: dict[str, Any]) -> str:
    return str(row["name"] or row["container"])


def _yes(value: bool) -> str:
    return "yes" if value else "no"
