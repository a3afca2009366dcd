"""`hookctl trace` on a made-up record: finding, showing, counting, following, pruning."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from hookrun.wrapper.admin import policy
from hookrun.wrapper.admin.trace import index as trace_index
from hookrun.wrapper.admin.trace import show as trace_show
from hookrun.wrapper.admin.trace.store import Query
from hookrun.wrapper.record import kept_configs
from tests.support import recorded
from tests.support.runtimes import HOOKCTL, Result, wait_for

BEFORE = {"hostname": "a", "process": {"env": ["A=1"]}, "mounts": [1, 2]}
PATCH: list[dict[str, Any]] = [
    {"op": "replace", "path": "/hostname", "value": "b"},
    {"op": "remove", "path": "/mounts/1"},
    {"op": "add", "path": "/process/noNewPrivileges", "value": True},
]
CREATE = ["/opt/a b/hookrun", "--root", "/r", "create", "--bundle", "/b\udcff\n'", "--no-pivot", "abcdef123"]


class Bench:
    """hookctl on a record of the test's own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.directory = place / "record"

    def call(self, *words: str, **environment: str) -> Result:
        done = subprocess.run(
            self.words(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def words(self, *words: str) -> list[str]:
        return [
            str(HOOKCTL),
            "--config",
            f"{self.place}/etc",
            "--state",
            f"{self.place}/state",
            "trace",
            "--directory",
            str(self.directory),
            *words,
        ]

    def json(self, *words: str) -> Any:
        result = self.call(*words, "--json")
        assert result.status == 0, result.err
        return json.loads(result.out)

    def ids(self, *words: str) -> list[str]:
        return [call["id"] for call in self.json("list", *words)]

    def write(self, *lines: dict[str, Any]) -> None:
        recorded.write(self.directory, list(lines))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def made(number: int, **changes: Any) -> Any:
    return recorded.call(
        number, random.Random(1), **{"status": 0, "error": "", "decisions": [], "hook_results": [], **changes}
    )


def create(bench: Bench, **changes: Any) -> Any:
    """A create whose config hookrun changed."""
    config = {"before": "1" * 64, "after": "2" * 64, "patch": PATCH}
    (bench.directory / "configs").mkdir(parents=True, exist_ok=True)
    (bench.directory / "configs" / f"{config['before']}.json").write_text(json.dumps(BEFORE))
    options = {"bundle": "/b\udcff\n'", "no-pivot": True}
    return made(
        0,
        **{
            "id": "abc123abc123",
            "container": "abcdef123",
            "arguments": ["abcdef123"],
            "argv": CREATE,
            "options": options,
            "config": config,
            **changes,
        },
    )


def test_no_record_is_no_error(bench: Bench) -> None:
    assert bench.json("list") == []
    assert bench.call("stats").status == 0
    assert bench.call("show", "abc").status == 1
    assert not bench.directory.exists()


def test_list_filters(bench: Bench) -> None:
    lines = [
        made(0, id="a0", container="box-one", command="create", engine="docker"),
        made(1, id="a1", container="box-one", command="start", engine="docker", status=1, error="no"),
        made(2, id="a2", container="box-two", command="create", engine="podman", status=1, error="policy p: no",
             decisions=[recorded.decision("p", "denied", "no")]),
        made(3, id="a3", container="other", command="create", engine="podman", decisions=[recorded.decision("p", "passed")]),
        made(4, id="a4", container="other", command="exec", engine="cri-o",
             decisions=[recorded.decision("q", "audited", "would be patched"), recorded.decision("r", "audited", "would be denied: no")]),
        made(5, id="a5", container="other", command="exec", engine="cri-o", decisions=[recorded.decision("q", "audited", "would be passed")]),
    ]  # fmt: skip
    bench.write(*lines)
    everything = ["a0", "a1", "a2", "a3", "a4", "a5"]
    for words, expected in (
        ([], everything),
        (["--container", "box"], ["a0", "a1", "a2"]),
        (["--container", "box-o", "--command", "start"], ["a1"]),
        (["--engine", "podman"], ["a2", "a3"]),
        (["--failed"], ["a1", "a2"]),
        (["--denied"], ["a2"]),
        (["--audited"], ["a4"]),
        (["--policy", "p"], ["a2", "a3"]),
        (["--last", "2"], ["a4", "a5"]),
        (["--engine", "docker", "--last", "1"], ["a1"]),
        (["--since", lines[2]["time"]], ["a2", "a3", "a4", "a5"]),
        (["--until", lines[1]["time"]], ["a0", "a1"]),
        (["--since", "1m"], []),
        (["--last", "0"], everything),
    ):
        assert bench.ids(*words) == expected, words
    assert [line["id"] for line in lines if Query(audited=True).fits(line)] == ["a4"]  # as `tail` asks
    for last in ("0", "50"):
        rows = [line.split() for line in bench.call("list", "--last", last).out.splitlines()]
        assert [row[1] for row in rows] == ["ID", *everything]
        assert [row[7] for row in rows] == ["POLICY", "-", "-", "denied", "-", "audited", "-"]
    stats = bench.json("stats")
    assert [(row["engine"], row["command"]) for row in stats["calls"] if row["denied"]] == [("podman", "create")]
    assert [(row["engine"], row["audited"]) for row in stats["calls"] if row["audited"]] == [("cri-o", 1)]
    assert {row["policy"]: (row["denied"], row["audited"]) for row in stats["policies"]} == {
        "p": (1, 0),
        "q": (0, 0),
        "r": (0, 1),
    }


def report(bench: Bench, *words: str) -> Any:
    done = subprocess.run(
        [HOOKCTL, "report", "--directory", bench.directory, *words, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_report_for_those_who_look_with_kyvernos_tools(bench: Bench) -> None:
    """The gravest of what a policy said of a container; the words of a report by policyreport_types.go."""
    passed, denied = recorded.decision("p", "passed"), recorded.decision("p", "denied", "no")
    audited, exempt = (
        recorded.decision("r", "audited", "would be denied: no"),
        recorded.decision("q", "exempt", "for now"),
    )
    bench.write(
        made(0, id="a0", container="one", command="create", decisions=[denied, audited]),
        made(1, id="a1", container="one", command="exec", decisions=[passed, exempt]),
        made(2, id="a2", container="two", command="create", decisions=[passed]),
    )
    done = subprocess.run(
        [HOOKCTL, "report", "--directory", bench.directory, "--policy-report"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert (found["apiVersion"], found["kind"]) == ("wgpolicyk8s.io/v1alpha2", "ClusterPolicyReport")
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", found["metadata"]["name"])
    assert found["summary"] == {"pass": 1, "fail": 1, "warn": 1, "error": 0, "skip": 1}
    rows = [
        (one["policy"], one["resources"][0]["name"], one["result"], one.get("message"), one["scored"])
        for one in found["results"]
    ]
    assert rows == [
        ("p", "one", "fail", "no", True),
        ("p", "two", "pass", None, True),
        ("q", "one", "skip", "for now", False),
        ("r", "one", "warn", "would be denied: no", False),
    ]
    assert [one["properties"]["example"] for one in found["results"]] == ["a0", "a2", "a1", "a0"]


def test_report_sums_up_by_policy_and_by_container(bench: Bench) -> None:
    denied, changed, passed = (
        recorded.decision("p", "denied", "no"),
        recorded.decision("q", "patched"),
        recorded.decision("p", "passed"),
    )
    would_deny, would_change = (
        recorded.decision("r", "audited", "would be denied: no"),
        recorded.decision("r", "audited", "would be hooked: 1 hook"),
    )
    root = {"globals": {"root": str(bench.place / "root")}}
    bench.write(
        made(0, id="a0", container="one", command="create", engine="docker", decisions=[changed, would_deny], **root),
        made(10, id="a1", container="two", command="create", engine="podman", decisions=[denied], **root),
        made(20, id="a2", container="one", command="exec", engine="docker", decisions=[passed, would_change], **root),
        made(30, id="a3", container="three", command="create", engine="podman", decisions=[passed], **root),
    )
    (bench.place / "root/one").mkdir(parents=True)  # as another runtime leaves it: hookrun has no state there
    names = (
        "policy",
        "calls",
        "containers",
        "denied",
        "changed",
        "would_deny",
        "would_change",
        "example",
        "first",
        "last",
    )
    zero, two, three = "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"
    found = report(bench)
    assert [tuple(row[name] for name in names) for row in found["policies"]] == [
        ("p", 3, 3, 1, 0, 0, 0, "a1", "2026-01-01T00:00:01Z", three),
        ("q", 1, 1, 0, 1, 0, 0, "a0", zero, zero),
        ("r", 2, 1, 0, 0, 1, 1, "a0", zero, two),
    ]
    of_containers = (
        "container",
        "engine",
        "running",
        "policies",
        "denied",
        "changed",
        "would_deny",
        "would_change",
        "example",
    )
    assert [tuple(row[name] for name in of_containers) for row in found["containers"]] == [
        ("one", "docker", True, ["p", "q", "r"], 0, 1, 1, 1, "a0"),
        ("two", "podman", False, ["p"], 1, 0, 0, 0, "a1"),
    ]
    now = report(bench, "--running")
    assert [row["container"] for row in now["containers"]] == ["one"]
    assert [row["policy"] for row in now["policies"]] == ["p", "q", "r"]
    only = report(bench, "--policy", "r", "--engine", "docker")
    assert [row["policy"] for row in only["policies"]] == ["r"]
    assert [row["policies"] for row in only["containers"]] == [["r"]]
    assert report(bench, "--since", "1m") == {"policies": [], "containers": []}


def test_another_runtime_fails_by_its_status(bench: Bench) -> None:
    runc = {"delegate": "/usr/sbin/runc"}
    bench.write(
        made(0, id="a0", command="create", status=1, **runc),
        made(1, id="a1", command="create", status=0, **runc),
        made(2, id="a2", command="create", status=None, **runc),
        made(3, id="a3", command="exec", status=3, **runc),
        made(4, id="a4", command="exec", status=3),
    )
    assert bench.ids("--failed") == ["a0"]


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--since", "yesterday"],
        ["show", "a*"],
        ["timeline", "none"],
        ["show", "a"],
        ["export", "--format", "xml"],
    ],
)
def test_what_is_not_understood_is_refused(bench: Bench, words: list[str]) -> None:
    bench.write(made(0, id="a0"), made(1, id="a1"))
    result = bench.call(*words)
    assert result.status in (1, 2)
    assert result.err.strip()
    assert "Traceback" not in result.err


def test_ids_may_be_shortened(bench: Bench) -> None:
    bench.write(
        create(bench),
        made(1, id="def456def456", container="abcdef123", command="start"),
        made(2, id="abd", container="zz", command="state"),
    )
    assert bench.json("show", "abc1")["id"] == "abc123abc123"
    assert bench.json("show", "def4")["id"] == "def456def456"
    assert bench.json("show", "abcde")["id"] == "abc123abc123"  # the container's create
    assert bench.json("show", "z")["id"] == "abd"
    assert bench.call("show", "ab").status == 1
    assert "not unique" in bench.call("show", "ab").err


def test_show_tells_everything(bench: Bench) -> None:
    call = create(
        bench,
        status=1,
        error="policy p: not here",
        decisions=[recorded.decision("p", "denied", "not here", 1.5)],
        hooks=[{"stage": "createRuntime", "path": "/h", "source": "hooks.d", "file": "/etc/hooks.d/x.json", "line": 3}],
        hook_results=[
            {
                "stage": "prestart",
                "index": 0,
                "path": "/g",
                "ms": 7.25,
                "status": 3,
                "stderr": "line one\nline two\x1b[2J",
            }
        ],
        phases=[["decide", 1.0], ["clone", 2.0]],
        milliseconds=4.0,
    )
    bench.write(call)
    result = bench.call("show", "abc123")
    assert result.status == 0, result.err
    for text in (
        "abcdef123", "exit status 1", "policy p: not here", "--no-pivot", "enter the rootfs without pivot_root", "containerd-shim-runc-v2",
        "/usr/bin/containerd", "p (enforce) denied: not here", "1.5 ms", "createRuntime: /h, from hooks.d, /etc/hooks.d/x.json:3",
        "prestart #0: /g, 7.25 ms, exit status 3", "line one", "line two", "3 changes: hookctl trace diff abc123abc123", "clone", "█", "init",
    ):  # fmt: skip
        assert text in result.out, text
    assert "\x1b" not in result.out
    lines = result.out.splitlines()
    assert lines[:3] == [
        "error      policy p: not here",
        "failed in  init, policy p denied it, hook prestart #0: /g, 7.25 ms, exit status 3",
        "call       abc123abc123",
    ]
    titles = ["Decisions", "Hooks put in", "Hooks that ran", "Phases", "Config", "Called by", "Command line", "Flags"]
    assert [line for line in lines if line in titles] == titles


def test_show_marks_the_phase_that_failed(bench: Bench) -> None:
    hook = {"stage": "createRuntime", "index": 1, "path": "/net", "ms": 30.0, "status": 3, "stderr": ""}
    done = [["decide", 1.0], ["check", 1.0], ["cgroups", 1.0], ["plan", 1.0], ["clone", 2.0]]
    rows: list[tuple[dict[str, Any], str | None, str | None]] = [
        ({"phases": done, "hook_results": [hook]}, "init, hook createRuntime #1: /net, 30.0 ms, exit status 3", "init          34.000 ms"),
        ({"phases": done[:1], "delegate": "/usr/sbin/runc"}, "runc", "runc          39.000 ms"),
        ({"phases": []}, "decide", "decide        40.000 ms"),
        ({"phases": [], "command": "exec"}, "decide", "decide        40.000 ms"),
        ({"phases": [*done, ["init", 3.0], ["finish", 1.0]], "command": "run"}, None, None),
        ({"phases": done, "status": 0, "error": ""}, None, None),
    ]  # fmt: skip
    for number, (changes, failed_in, marked) in enumerate(rows):
        call: dict[str, Any] = {"command": "create", "milliseconds": 40.0, "status": 1, "error": "no", **changes}
        lines = list(trace_show.describe(made(number, **call)))
        found = [line.partition("failed in  ")[2] for line in lines if line.startswith("failed in")]
        assert found == [failed_in] if failed_in else found == [], changes
        ends = [line.partition(" ms  ")[0].strip() + " ms" for line in lines if line.endswith("<- failed here")]
        assert ends == ([marked] if marked else []), changes
        assert any(line.startswith("  other  ") for line in lines) is (marked is None), changes
        if changes.get("hook_results"):
            at = next(number for number, line in enumerate(lines) if line.endswith("<- failed here"))
            assert lines[at + 1].split() == ["30.000", "ms", "of", "these:", "createRuntime", "#1"]


@pytest.mark.parametrize(
    "words", [CREATE, ["a", "", "$x", "a'b", 'a"b', "\\", "\udc80\udcff1", "\x01\x1b7", "ä→", "\t\n", "\u200b"]]
)  # fmt: skip
def test_the_command_line_reads_back_to_the_byte(words: list[str]) -> None:
    line = trace_show.shell_line(words)
    script = f'printf "%s\\0" {line}'
    done = subprocess.run(
        ["bash", "-c", os.fsencode(script)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in words)
    assert line.isprintable()


def test_diff_and_config(bench: Bench) -> None:
    bench.write(create(bench))
    assert bench.call("diff", "abc123").out.splitlines() == [
        '- /hostname: "a"',
        '+ /hostname: "b"',
        "- /mounts/1: 2",
        "+ /process/noNewPrivileges: true",
    ]
    assert json.loads(bench.call("diff", "abc123", "--patch").out) == PATCH
    assert json.loads(bench.call("config", "abc123").out) == BEFORE
    assert json.loads(bench.call("config", "abc123", "--before").out) == BEFORE
    assert json.loads(bench.call("config", "abc123", "--after").out) == jsonpatch.apply_patch(BEFORE, PATCH)


def test_large_changes_take_a_line(bench: Bench) -> None:
    before = {**BEFORE, "linux": {"seccomp": {"names": [str(number) for number in range(100)]}}}
    patch: list[dict[str, Any]] = [
        {"op": "replace", "path": "/hostname", "value": "b"},
        {"op": "remove", "path": "/linux/seccomp"},
        *({"op": "add", "path": f"/process/env/{number}", "value": "B=1"} for number in range(9)),
        {"op": "add", "path": "/annotations", "value": {"a": "x" * 300}},
    ]
    bench.write(create(bench, config={"before": "1" * 64, "after": "2" * 64, "patch": patch}))
    (bench.directory / "configs" / f"{'1' * 64}.json").write_text(json.dumps(before))
    brief = [
        '- /hostname: "a"',
        '+ /hostname: "b"',
        "~ /linux/seccomp removed",
        "~ /process/env replaced (9 changes)",
        "~ /annotations added",
    ]
    assert bench.call("diff", "abc123").out.splitlines() == brief
    full = bench.call("diff", "abc123", "--full").out.splitlines()
    assert len(full) == 13
    assert full[2].endswith('"98", "99"]}')
    shown = bench.call("show", "abc123").out
    for line in ("/hostname replaced", "/process/env replaced (9 changes)", "/annotations added"):
        assert f"\n    {line}\n" in shown
    assert "xxx" not in shown
    assert bench.call("show", "abc123", "--full").out == shown + "\nChanges\n" + "\n".join(full) + "\n"
    changes = [
        {"sign": line[0], "path": line[2:].partition(": ")[0], "value": line.partition(": ")[2]} for line in full
    ]
    assert bench.json("diff", "abc123") == changes
    assert bench.json("config", "abc123") == before
    after = jsonpatch.apply_patch(before, patch)
    large = ["/process/env replaced (9 changes)", "/linux/seccomp removed", "/annotations added"]
    assert policy._difference(before, after, full=False) == ['replace /hostname "b"', *large]
    assert policy._places(before, after, full=False) == ["/hostname", *large]


def test_diff_without_the_config(bench: Bench) -> None:
    bench.write(create(bench))
    (bench.directory / "configs" / f"{'1' * 64}.json").unlink()
    result = bench.call("diff", "abc123")
    assert '+ /hostname: "b"' in result.out
    assert "not kept, or pruned" in result.err
    assert bench.call("config", "abc123").status == 1


def test_timeline(bench: Bench) -> None:
    first, second = (
        made(0, id="a0", container="box", milliseconds=40.0),
        made(1, id="a1", container="box", command="start", milliseconds=5.0),
    )
    bench.write(first, second, made(2, id="a2", container="box2"))
    steps = bench.json("timeline", "box")
    assert [(step["id"], step["start"], step["gap"], step["waited"]) for step in steps] == [
        ("a0", 0.0, 0.0, 40.0),
        ("a1", 100.0, 60.0, 5.0),
    ]
    text = bench.call("timeline", "box").out
    assert "2 calls in 0.105 s; the engine waited 45.0 ms" in text


def test_stats_are_exact(bench: Bench) -> None:
    recorded.write_many(bench.directory, 3000, 700)
    lines = list(recorded.calls(3000))
    found = {(row["engine"], row["command"]): row for row in bench.json("stats")["calls"]}
    assert len(found) == len({(line["engine"], line["command"]) for line in lines})
    for (engine, command), row in found.items():
        times = sorted(line["milliseconds"] for line in lines if (line["engine"], line["command"]) == (engine, command))
        failed = sum(bool(line["error"]) for line in lines if (line["engine"], line["command"]) == (engine, command))
        assert (row["count"], row["failed"], row["max"]) == (len(times), failed, times[-1])
        for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
            assert row[name] == times[-(-len(times) * share // 100) - 1], (engine, command, name)
    (hook,) = bench.json("stats")["hooks"]
    assert (hook["path"], hook["stage"]) == ("/usr/bin/net", "prestart")
    (policy,) = bench.json("stats", "--engine", "docker")["policies"]
    assert policy["count"] == sum(line["engine"] == "docker" and line["command"] == "create" for line in lines)


def test_the_index_follows_the_record(bench: Bench) -> None:
    bench.write(made(0, id="a0"))
    assert bench.json("stats")["calls"][0]["count"] == 1
    bench.write(made(7, id="a7"))
    (bench.directory / "record.jsonl").rename(bench.directory / "record-1-1.jsonl")
    bench.write(made(21, id="b1", engine="docker"))
    assert sum(row["count"] for row in bench.json("stats")["calls"]) == 3
    (bench.directory / "record-1-1.jsonl").unlink()
    assert sum(row["count"] for row in bench.json("stats")["calls"]) == 1
    assert bench.call("show", "a0").status == 1


@pytest.mark.parametrize("damage", ["noise", "version"])
def test_a_useless_index_is_built_anew(bench: Bench, damage: str) -> None:
    bench.write(made(0, id="a0"))
    bench.json("stats")
    index = bench.directory / trace_index.NAME
    assert index.stat().st_mode & 0o777 == 0o600
    if damage == "noise":
        index.write_bytes(b"noise" * 10_000)
    else:
        with sqlite3.connect(index) as database:
            database.execute("PRAGMA user_version = 77")
        database.close()
    assert bench.json("stats")["calls"][0]["count"] == 1


def test_lines_that_are_no_record(bench: Bench) -> None:
    bench.write(made(0, id="a0"))
    with (bench.directory / "record.jsonl").open("a") as file:
        file.write('{"format":1,"notice":"no snapshot"}\nnoise\n{"format":1,"id":"to')
    bench.write(made(1, id="a1"))
    with (bench.directory / "record.jsonl").open("a") as file:
        file.write('{"format":1,"id":"not yet whole"')
    assert bench.ids() == ["a0", "a1"]
    assert bench.ids("--engine", "docker") == ["a0", "a1"]


def test_tables_are_plain_when_piped(bench: Bench) -> None:
    long = "e" * 500
    bench.write(made(0, id="a0", status=1, error=long + "\x1b[31m\n"))
    result = bench.call("list", COLUMNS="40", FORCE_COLOR="")
    assert long in result.out
    assert "\x1b" not in result.out
    assert result.out.count("\n") == 2


def test_tail_shows_calls_as_they_happen_over_a_rotation(bench: Bench) -> None:
    bench.write(made(0, id="old"))
    output = bench.place / "tail"
    with output.open("w") as file:
        tail = subprocess.Popen(
            bench.words("tail", "--last", "1", "--json"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def shows(*ids: str) -> bool:
        return [json.loads(line)["id"] for line in output.read_text().splitlines()] == list(ids)

    try:
        wait_for(lambda: shows("old"), "the old call")
        bench.write(made(1, id="new1"))
        wait_for(lambda: shows("old", "new1"), "a new call")
        bench.write(made(2, id="new2"))
        (bench.directory / "record.jsonl").rename(bench.directory / "record-1-1.jsonl")
        bench.write(made(3, id="new3"))
        wait_for(lambda: shows("old", "new1", "new2", "new3"), "calls before and after the rotation")
        tail.send_signal(signal.SIGINT)
        assert tail.wait(60) == 0
    finally:
        tail.kill()
        tail.wait()


def test_prune(bench: Bench) -> None:
    bench.write(create(bench, time="2026-01-01T00:00:00.000000Z"))
    kept = bench.directory / "configs" / f"{'1' * 64}.json"
    aged = time.time() - 3 * 86400
    os.utime(kept, (aged, aged))
    ancient = bench.directory / "record-1-1.jsonl"
    ancient.write_text("{}\n")
    os.utime(ancient, (1, 1))
    done = bench.json("prune", "--max-age", str(30 * 86400))
    assert (done["rotated"], done["removed_files"], done["compressed"]) == (True, 1, 1)
    assert not ancient.exists() and not kept.exists()
    packed = kept.with_name(kept.name + kept_configs.PACKED)
    assert json.loads(zlib.decompress(packed.read_bytes())) == BEFORE
    assert packed.stat().st_mode & 0o777 == 0o600
    assert json.loads(bench.call("config", "abc123").out) == BEFORE
    assert bench.json("prune")["rotated"] is False
    bench.json("prune", "--max-total", "0")
    assert bench.ids() == []
    assert list((bench.directory / "configs").iterdir()) == []


def test_a_hundred_thousand_calls_take_little_memory(bench: Bench) -> None:
    recorded.write_many(bench.directory, 100_000, 30_000)
    measured = ["/usr/bin/env", "python3", "-c", MEASURE]
    for words in (["list", "--last", "20"], ["stats"], ["show", f"{99_999 * 2654435761 % 2**48:012x}"]):
        done = subprocess.run(
            [*measured, *bench.words(*words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert int(done.stderr.splitlines()[-1]) < 200_000, words
    assert sum(row["count"] for row in bench.json("stats")["calls"]) == 100_000


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
