"""What policies cost a create: the larger snapshot, their imports and the decision, in a fresh interpreter each time.

    .venv/bin/python -m tests.bench.policies [--rounds 40] [--markdown FILE]

Of 1,000 policies (and of 20) 10 match a config of 20 KB as dockerd writes it; the others want another namespace, image,
annotation, label, engine or field, a few of them by a regular expression. The floor is `python3 -I -S -c pass`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hookrun.policies import compiler, decide, validation
from hookrun.wrapper import entry, settings, snapshot
from tests.bench import stopwatch

FLOOR = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
MATCHING = 10
BUDGET = {1000: 2.0, 20: 0.5}  # milliseconds of evaluation: the larger snapshot and the decision
PARTS = ("load", "imports", "decide")

# What the shim has loaded by then is loaded before the clock starts.
PROGRAM = """
import sys, time
package = type(sys)("hookrun")
package.__path__ = [{source!r}]
sys.modules["hookrun"] = package
from hookrun.runtime import jsonio
from hookrun.runtime.linux import files
from hookrun.wrapper import snapshot
config = jsonio.loads(files.read_bytes({state!r} + "/config.json"))
call = dict(engine="docker", command="create", runtime="hookrun", container="x", labels=dict(), host_namespaces=None,
    look=lambda mount: None, land=lambda mounts: [mount["destination"] for mount in mounts], is_whole=True)
start = time.perf_counter()
plan = snapshot.load({state!r}).content["policies"]
loaded = time.perf_counter()
if plan["policies"]:
    from hookrun.policies import decide, match, merge, patch, words
imported = time.perf_counter()
if plan["policies"]:
    outcome = decide.decide(plan, config, call)
    assert len(outcome.decisions) == {matching} and not outcome.denied, outcome.decisions
print((loaded - start) * 1000, (imported - loaded) * 1000, (time.perf_counter() - imported) * 1000)
"""

OTHERS: list[dict[str, Any]] = [
    {"namespace": "team-{}"},
    {"image": ["registry.example/app-{}", "registry.example/old-{}"], "command": ["create", "run"]},
    {"all": [{"annotation": "example.org/tier", "equals": "tier-{}"}, {"engine": ["docker", "podman"]}]},
    {"label": "app", "equals": "app-{}"},
    {"engine": ["podman", "cri-o"], "command": "create"},
    {"field": "/hostname", "in": ["host-{}", "other-{}"]},
    {"runtime": "hookrun-{}"},
    {"pod": "pod-{}", "container": {"matches": "^web"}},
    {"all": [{"namespace": "shop"}, {"field": "/mounts/*/source", "startsWith": "/srv/{}"}]},
]
BY_EXPRESSION: list[dict[str, Any]] = [
    {"image": {"matches": "^registry\\.example/team-{}/"}},
    {"field": "/process/env/*", "matches": "^TEAM={}$"},
]
MATCHES: list[dict[str, Any]] = [
    {"noNewPrivileges": True},
    {"capabilities": {"drop": ["NET_RAW"]}},
    {"env": {"default": {"http_proxy": "http://proxy.example:3128"}}},
    {"resources": {"max": {"memory": "8Gi", "pids": 4096}}},
    {"mounts": {"readOnly": [{"destination": ["/etc/hosts", "/etc/resolv.conf"]}]}},
    {
        "deny": [
            {"when": {"field": "/mounts/*/source", "matches": "^(/var)?/run/docker\\.sock$"}, "message": "no socket"}
        ]
    },
    {"patch": [{"op": "add", "path": "/process/env/-", "value": "FROM=policy"}]},
    {"merge": {"linux": {"readonlyPaths": ["/proc/bus"]}}},
    {"hooks": {"createRuntime": [{"path": "/usr/bin/true", "args": ["true"]}]}},
    {"mode": "audit", "user": {"forbidRoot": True}},
]


def config() -> dict[str, Any]:
    """A config as dockerd writes it; what makes it 20 KB is the seccomp profile."""
    found: dict[str, Any] = json.loads(json.dumps(validation.samples()["docker"]))
    number = 0
    while len(json.dumps(found)) < 20_000:
        rule = {"names": [f"call_{number}_{part}" for part in range(12)], "action": "SCMP_ACT_ALLOW"}
        found["linux"]["seccomp"]["syscalls"].append(rule)
        number += 1
    return found


def plan(count: int) -> decide.Plan:
    """`count` policies, of which MATCHING match; none for 0."""
    texts = []
    for number in range(count):
        spec: dict[str, Any] = {}
        if number % (count // MATCHING) == 0:
            spec = {
                **MATCHES[number // (count // MATCHING)],
                "match": {"engine": ["docker"], "command": ["create", "run"]},
            }
        else:
            kinds = BY_EXPRESSION if number % 100 in (33, 66) else OTHERS
            match = json.loads(json.dumps(kinds[number % len(kinds)]).replace("{}", str(number)))
            spec = {"match": match, **MATCHES[number % len(MATCHES)]}
        texts.append(
            json.dumps(
                {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": f"policy-{number}"}, "spec": spec}
            )
        )
    return compiler.plan(
        [source for text in texts for source in compiler.load(text, "/etc/hookrun/policies.d/bench.yaml")]
    )


def host(state: Path, count: int) -> list[str]:
    """Make the state directory ready; returns the command that measures once."""
    state.mkdir()
    content: snapshot.Content = {"settings": settings.DEFAULTS, "profiles": {}, "hooks": {}, "policies": plan(count)}
    (state / snapshot.NAME).write_bytes(snapshot.packed(content))
    (state / snapshot.NAME).chmod(0o644)
    (state / "config.json").write_text(json.dumps(config()))
    source = str(Path(entry.__file__).parents[1])
    program = PROGRAM.format(source=source, state=str(state), matching=MATCHING if count else 0)
    return [FLOOR[0], "-ISXutf8", "-c", program]


def medians_of(rounds: int) -> dict[str, float]:
    """Medians in milliseconds: the floor, and for each count what policies add to a snapshot's load and to a create."""
    samples: dict[str, list[float]] = {}

    def lap(name: str, words: list[str]) -> None:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True, timeout=60)
        for part, value in zip(PARTS, map(float, done.stdout.split()), strict=True):
            samples.setdefault(f"{name} {part}", []).append(value)

    with tempfile.TemporaryDirectory() as place:
        commands = {str(count): host(Path(place) / str(count), count) for count in (0, *BUDGET)}
        laps: dict[str, stopwatch.Lap] = {name: (lambda n=name, w=words: lap(n, w)) for name, words in commands.items()}  # type: ignore[misc]
        laps["floor"] = lambda: samples.setdefault("floor", []).append(stopwatch.spawn(FLOOR))
        stopwatch.interleave(rounds, laps)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    found = {"floor": medians["floor"]}
    for count in BUDGET:
        found[f"{count} load"] = medians[f"{count} load"] - medians["0 load"]
        for part in PARTS[1:]:
            found[f"{count} {part}"] = medians[f"{count} {part}"]
    return found


def table(found: dict[str, float]) -> str:
    lines = ["| policies | snapshot ms | decision ms | evaluation ms | budget ms | imports ms | all / python3 |"]
    lines.append("| ---: " * 7 + "|")
    for count, budget in BUDGET.items():
        load, imports, decide = (found[f"{count} {part}"] for part in PARTS)
        ratio = (load + imports + decide) / found["floor"]
        row = (
            str(count),
            f"{load:.2f}",
            f"{decide:.2f}",
            f"{load + decide:.2f}",
            str(budget),
            f"{imports:.2f}",
            f"{ratio:.3f}",
        )
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + f"\n\npython3 -I -S -c pass: {found['floor']:.1f} ms\n"


def measure(rounds: int) -> str:
    """The medians as a Markdown table."""
    return table(medians_of(rounds))


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    stopwatch.command_line(__doc__, measure, rounds=40)
