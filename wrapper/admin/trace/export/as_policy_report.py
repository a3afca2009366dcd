"""What policies said, as a ClusterPolicyReport, which Kyverno's tools show (wgpolicyk8s.io/v1alpha2).

A result is what one policy said of one container: the gravest of it, with the newest call.
Source: the Policy Working Group's policyreport_types.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from hookrun.policies.policy import Policy
from hookrun.wrapper.admin.trace import audit as trace_audit
from hookrun.wrapper.admin.trace.audit import Said
from hookrun.wrapper.admin.trace.export import host as export_host
from hookrun.wrapper.admin.trace.export.selection import Selection
from hookrun.wrapper.admin.trace.index import Effect
from hookrun.wrapper.admin.trace.store import Store

# A policy that audits only warns: the container ran.
_RESULTS = {
    Effect.denied: "fail",
    Effect.would_deny: "warn",
    Effect.exempt: "skip",
    Effect.changed: "pass",
    Effect.would_change: "pass",
    Effect.none: "pass",
}
_SUMMARY = ("pass", "fail", "warn", "error", "skip")


def render(selection: Selection) -> Iterator[str]:
    """The JSON text, indented for people."""
    yield json.dumps(_report(selection), indent=2)
    yield "\n"


def _report(selection: Selection) -> dict[str, Any]:
    store, known = selection.store, selection.policies
    pairs = trace_audit.report(store.index(), selection.query, selection.containers).pairs
    results = [
        _result(policy, container, said, known.get(policy), _words_of(store))
        for (policy, container), said in sorted(pairs.items())
    ]
    identity = export_host.identity()
    return {
        "apiVersion": "wgpolicyk8s.io/v1alpha2",
        "kind": "ClusterPolicyReport",
        "metadata": {
            "name": f"hookrun-{_name(identity['host.name'])}",
            "labels": {"app.kubernetes.io/managed-by": "hookrun"},
        },
        "scope": {"apiVersion": "v1", "kind": "Node", "name": identity["host.name"]},
        "summary": {word: sum(1 for one in results if one["result"] == word) for word in _SUMMARY},
        "results": results,
    }


def _words_of(store: Store) -> Callable[[str, str], str]:
    """What gives a policy's words about a call."""

    def words(policy: str, call: str) -> str:
        return next((one["message"] for one in store.find(call)["decisions"] if one["policy"] == policy), "")

    return words


def _name(host: str) -> str:
    """A host's name as one that Kubernetes takes."""
    return re.sub(r"[^a-z0-9.-]+", "-", host.lower()).strip("-.") or "host"


def _result(
    policy: str, container: str, said: Said, known: Policy | None, message: Callable[[str, str], str]
) -> dict[str, Any]:
    result = _RESULTS[said.gravest]
    found: dict[str, Any] = {
        "source": "hookrun",
        "policy": policy,
        "result": result,
        "scored": result in ("pass", "fail"),
        "timestamp": {"seconds": int(said.last), "nanos": 0},
        "resources": [{"kind": "Container", "name": container}] if container else [],
        "properties": {"calls": str(len(said.calls)), "example": said.example},
    }
    if known and known.severity:
        found["severity"] = known.severity
    if known and known.owner:
        found["properties"]["owner"] = known.owner
    if result != "pass":
        found["message"] = message(policy, said.example)
    return found
