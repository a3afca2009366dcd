"""What the hosts report, asked of Prometheus (its HTTP API, v1)."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from hookrun.runtime.errors import Failure

_SECONDS = 30
_MOST = 10  # rows of what was denied most


def ask(prometheus: str, query: str) -> list[tuple[dict[str, str], float]]:
    """The series that a query gives: labels and value. Raises Failure."""
    url = f"{prometheus.rstrip('/')}/api/v1/query"
    try:
        answer = urllib3.request("GET", url, fields={"query": query}, timeout=_SECONDS, retries=False)
        value = json.loads(answer.data)
        if value["status"] != "success":
            raise Failure(f"{prometheus}: {value.get('error', 'the query failed')}")
        return [(one["metric"], float(one["value"][1])) for one in value["data"]["result"]]
    except urllib3.exceptions.HTTPError:
        raise Failure(f"cannot reach Prometheus at {prometheus}") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise Failure(f"{prometheus} is not a Prometheus server: no answer from {url}") from None


def demand_good(prometheus: str, name: str, version: str) -> None:
    """Refuse to promote a version that a host refused, or that none has tried. Raises Failure."""
    if not prometheus:
        raise Failure("what do the hosts report? Give --prometheus URL, or --force")
    labels = f'{{bundle="{name}",version="{version}"}}'
    refused = ask(prometheus, f"hookrun_fleet_refused_info{labels}")
    if refused:
        host, why = refused[0][0].get("instance", "?"), refused[0][0].get("reason", "?")
        raise Failure(f"{len(refused)} hosts refused {name} {version}; {host}: {why}")
    if not ask(prometheus, f"hookrun_fleet_bundle_info{labels}"):
        raise Failure(f"no host reports {name} {version} in force: stage it first, or --force")


def status(prometheus: str) -> dict[str, Any]:
    """How the fleet stands. Raises Failure."""
    held = ask(prometheus, "hookrun_fleet_bundle_info")
    wanted = {labels["instance"]: labels for labels, _ in ask(prometheus, "hookrun_fleet_wanted_info")}
    problems = ask(prometheus, "hookrun_fleet_problem == 1")
    refused = ask(prometheus, "hookrun_fleet_refused_info")
    denied = ask(prometheus, f'topk({_MOST}, sum by (policy) (hookrun_policy_decisions_total{{effect="denied"}}))')
    versions: dict[tuple[str, str], int] = {}
    for labels, _ in held:
        key = labels["bundle"], labels["version"]
        versions[key] = versions.get(key, 0) + 1
    return {
        "versions": [
            {"bundle": bundle, "version": version, "hosts": n} for (bundle, version), n in sorted(versions.items())
        ],
        "behind": [
            {"host": labels["instance"], "version": labels["version"], "wanted": wanted[labels["instance"]]["version"]}
            for labels, _ in held
            if wanted.get(labels["instance"], labels)["version"] != labels["version"]
        ],
        "refused": [{"host": one["instance"], "version": one["version"], "why": one["reason"]} for one, _ in refused],
        "failing": sorted(labels["instance"] for labels, _ in problems),
        "denied": [{"policy": labels["policy"], "calls": int(count)} for labels, count in denied],
    }


def tables(found: dict[str, Any]) -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    """The same for people: titles, headings and rows; what is empty is left out."""
    shown = (
        ("In force", "versions", ("BUNDLE", "VERSION", "HOSTS")),
        ("Behind", "behind", ("HOST", "VERSION", "WANTED")),
        ("Refused", "refused", ("HOST", "VERSION", "WHY")),
        ("Denied most", "denied", ("POLICY", "CALLS")),
    )
    rows: list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]] = [
        (title, headings, [tuple(one.values()) for one in found[name]]) for title, name, headings in shown
    ]
    rows.append(("Failing to follow", ("HOST",), [(one,) for one in found["failing"]]))
    return [row for row in rows if row[2]]
