"""A failure that points to its record, and `hookctl trace replay`, with a registered launcher and real containers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper.admin import output
from tests.support import leaks
from tests.support.bundles import Bundle
from tests.support.runtimes import HOOKCTL, Result, Runtime, fresh_id

POLICY = """apiVersion: hookrun/v1
kind: Policy
metadata: {name: no-denied}
spec:
  deny:
    - when: {all: [{field: /hostname, matches: '^denied$'}]}
      message: no container may be called denied
"""
HINT = re.compile(r" \(hookctl trace show ([0-9a-f]{12})\)")


class Host:
    """Directories of the test's own with a registered launcher."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.policies = place / "etc/policies.d"
        self.policies.mkdir(parents=True)
        for path in (place, place / "etc", self.policies):
            path.chmod(0o755)
        self.apply("")
        self.check("engine", "register", "docker", "--daemon-json", f"{place}/daemon.json")
        self.hookrun = Runtime(self.state / "launchers/hookrun", place / "root")

    def apply(self, settings: str) -> None:
        (self.place / "etc/config.yaml").write_text(f"record: {{directory: {self.place}/record}}\n{settings}")
        self.check("apply", "--yes")

    def ctl(self, *words: str) -> Result:
        done = subprocess.run(
            [HOOKCTL, "--config", self.place / "etc", "--state", self.state, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str) -> str:
        result = self.ctl(*words)
        assert result.status == 0, result.err
        return result.out

    def last(self, command: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(
            self.check("trace", "list", "--command", command, "--last", "1", "--json")
        )
        return found[0]


@pytest.fixture
def host() -> Iterator[Host]:
    place = Path(tempfile.mkdtemp(prefix="hr-trace-", dir="/var/tmp"))
    host = Host(place)
    yield host
    host.hookrun.delete_all()
    subprocess.run(
        ["umount", "-l", host.state / "seal"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
    )
    assert [mount for mount in leaks.mounts() if mount.startswith(f"{place}/")] == []
    shutil.rmtree(place)


def test_a_failure_says_where_to_read_more(host: Host, bundle: Bundle) -> None:
    bundle.command("/bin/nosuch")
    log = host.place / "log.json"
    globals_ = ("--log", str(log), "--log-format", "json")
    result = Runtime(host.hookrun.program, host.place / "root", *globals_).run(bundle.path)
    assert result.status == 1
    found = HINT.search(result.err)
    assert found, result.err
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["level"], HINT.sub("", last["msg"])) == ("error", host.last("run")["error"])
    assert last["msg"].endswith(found[0])
    shown = host.check("trace", "show", found[1])
    assert "no such file or directory" in shown
    assert "hookctl trace show" not in host.last("run")["error"]
    # `state` is the engine's own question; and a setting switches the hint off.
    assert not HINT.search(host.hookrun.call("state", "nosuch").err)
    host.apply("errors: {traceHint: false}\n")
    assert not HINT.search(host.hookrun.run(bundle.path).err)


def breaks(bundle: Bundle, how: str) -> None:
    """Make the bundle fail in one of the ways that people meet."""
    if how == "bad config":
        bundle.process["user"] = {"uid": -1, "gid": 0}
    elif how == "hook":
        bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]}
    elif how == "denied":
        bundle.config["hostname"] = "denied"
    elif how == "not found":
        bundle.process["args"] = ["nosuch"]
    elif how == "not executable":
        bundle.process["args"] = ["/etc/passwd"]
    elif how == "missing mount source":
        bundle.add_mount("/gone", "bind", "/nonexistent/source", "bind")
    elif how == "cgroup":
        bundle.linux["resources"]["memory"] = {"limit": 1}
    elif how == "seccomp":
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_NOSUCH"}
    bundle.write()


# And the phase that each fails in.
BREAKS = {
    "bad config": "check",
    "hook": "init, hook createRuntime #0: /bin/sh,",
    "denied": "decide, policy no-denied denied it",
    "not found": "finish",
    "not executable": "finish",
    "missing mount source": "init",
    "cgroup": "init",
    "seccomp": "plan",
}


def test_the_last_line_of_the_log_is_one_sentence_with_the_hint(host: Host, bundle: Bundle) -> None:
    (host.policies / "p.yaml").write_text(POLICY)
    (host.policies / "p.yaml").chmod(0o644)
    host.apply("")
    plain = json.dumps(bundle.config)
    for how, failed_in in BREAKS.items():
        bundle.config = json.loads(plain)
        breaks(bundle, how)
        log = host.place / f"log {how}"
        runtime = Runtime(host.hookrun.program, host.place / "root", "--log", str(log), "--log-format", "json")
        result = runtime.run(bundle.path)
        assert result.status == 1, (how, result)
        last = json.loads(log.read_text().splitlines()[-1])
        assert last["level"] == "error"
        text, _, hint = last["msg"].partition(" (hookctl trace show ")
        assert text and "Traceback" not in text and "internal error" not in text, (how, last)
        assert host.last("run")["id"] == hint.rstrip(")"), how
        assert host.last("run")["error"] == text
        cause = host.check("trace", "show", host.last("run")["id"]).splitlines()[:2]
        assert cause[0] == f"error      {output.harmless(text)}", how
        assert cause[1].startswith(f"failed in  {failed_in}"), (how, cause)


def test_the_report_tells_what_runs_now(host: Host, bundle: Bundle) -> None:
    (host.policies / "p.yaml").write_text(POLICY.replace("spec:\n", "spec:\n  mode: audit\n"))
    (host.policies / "p.yaml").chmod(0o644)
    host.apply("")
    bundle.config["hostname"] = "denied"
    bundle.command("sleep", "1000")
    name = host.hookrun.create(bundle.path, container_id=fresh_id())

    def found(*words: str) -> list[tuple[str, bool, int]]:
        told = json.loads(host.check("report", "--json", *words))
        return [(row["container"], row["running"], row["would_deny"]) for row in told["containers"]]

    assert found() == found("--running") == [(name, True, 1)]
    assert re.search(rf"^{name} +\S+ +yes +1 +0 +0 +1 +0 ", host.check("report"), re.MULTILINE)
    host.hookrun.delete_all()
    assert found() == [(name, False, 1)]
    assert found("--running") == []


def test_replay_makes_the_container_again_beside_the_engines(host: Host, bundle: Bundle) -> None:
    bundle.config["process"]["env"].append("API_TOKEN=swordfish-7731")
    bundle.add_mount("/gone", "bind", "/nonexistent/source", "bind")
    bundle.shell("echo replayed; echo token is $API_TOKEN; exit 3")
    assert host.hookrun.run(bundle.path).status == 1  # its mount's source is gone
    call = host.last("run")
    result = host.ctl("trace", "replay", call["id"])
    assert result.status == 3, result.err
    assert "replayed" in result.out
    assert "swordfish" not in result.out
    assert "/gone is left out" in result.err
    assert "API_TOKEN" in result.err
    assert leaks.cgroups(call["id"]) == []
    assert not list((host.place / "root").glob("replay-*"))

    moved = bundle.path / "elsewhere"
    bundle.rootfs.rename(moved)
    assert "--rootfs" in host.ctl("trace", "replay", call["id"]).err
    assert host.ctl("trace", "replay", call["id"], "--rootfs", str(moved)).status == 3


def test_replay_shows_what_would_be_decided_now(host: Host, bundle: Bundle) -> None:
    bundle.config["hostname"] = "denied"
    bundle.write()
    assert host.hookrun.run(bundle.path).status == 0
    call = host.last("run")
    assert "it would run" in host.check("trace", "replay", call["id"], "--dry-run")
    (host.policies / "p.yaml").write_text(POLICY)
    (host.policies / "p.yaml").chmod(0o644)
    host.apply("")
    text = host.check("trace", "replay", call["id"], "--dry-run")
    assert "denied: policy no-denied: no container may be called denied" in text
    assert json.loads(host.check("trace", "replay", call["id"], "--dry-run", "--json"))["denied"]
    result = host.hookrun.run(bundle.path)
    assert result.status == 1
    assert HINT.search(result.err)
    assert host.last("run")["decisions"][0]["action"] == "denied"


def test_replay_does_not_act_on_the_engines_container(host: Host, bundle: Bundle) -> None:
    bundle.command("sleep", "1000")
    name = host.hookrun.create(bundle.path, container_id=fresh_id())
    host.hookrun.start(name)
    host.hookrun.call("kill", name, "0")
    assert "would act on the engine's own container" in host.ctl("trace", "replay", host.last("kill")["id"]).err
    host.hookrun.state(name)
    assert json.loads(host.check("trace", "replay", host.last("state")["id"]))["id"] == name
    assert "--json needs --dry-run" in host.ctl("trace", "replay", host.last("state")["id"], "--json").err


def test_replay_has_a_limit_and_leaves_nothing(host: Host, bundle: Bundle) -> None:
    bundle.shell("sleep 1000 & sleep 1000")
    name = host.hookrun.create(bundle.path, container_id=fresh_id())
    host.hookrun.start(name)
    making = host.last("create")["id"]
    result = host.ctl("trace", "replay", making, "--timeout", "1")
    assert (result.status, result.err.splitlines()[-1]) == (
        124,
        "hookctl: it was ended after 1 s: give it more by --timeout",
    )
    assert leaks.cgroups(making) == []
    for options in ([], ["--detach"]):
        before = sorted(json.loads(host.hookrun.call("ps", "--format", "json", name).out))
        words = ["exec", *options, name, "sh", "-c", "test -e /replayed && sleep 1000; true"]
        assert host.hookrun.call(*words).status == 0
        (bundle.rootfs / "replayed").touch()
        assert host.ctl("trace", "replay", host.last("exec")["id"], "--timeout", "1").status in (0, 124)
        assert sorted(json.loads(host.hookrun.call("ps", "--format", "json", name).out)) == before
        (bundle.rootfs / "replayed").unlink()
