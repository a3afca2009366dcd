"""Policies from file to container, without an engine: create, run and exec by a registered launcher."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import RUNC


def in_force(host: ConfiguredHost, *specs: dict[str, Any]) -> None:
    """Have these policies in force, named p0, p1, …"""
    directory = host.config / "policies.d"
    directory.mkdir(exist_ok=True)
    for number, spec in enumerate(specs):
        policy = {"apiVersion": "hookrun/v1", "kind": "Policy", "metadata": {"name": f"p{number}"}, "spec": spec}
        (directory / f"p{number}.yaml").write_text(json.dumps(policy))
    host.apply()


DENY_BIN = {"deny": [{"when": {"field": "/mounts/*/source", "equals": "/bin"}, "message": "not /bin"}]}


def test_run_is_changed_or_refused(host: ConfiguredHost, bundle: Bundle) -> None:
    in_force(host, DENY_BIN, {"env": {"force": {"FROM": "policy"}}})
    bundle.shell("echo $FROM")
    result = host.runtime.run(bundle.path)
    assert (result.status, result.out) == (0, "policy\n"), result.err
    bundle.add_mount("/host", "bind", "/bin", "rbind").write()
    result = host.runtime.run(bundle.path)
    assert result.status == 1
    assert "policy p0: not /bin" in result.err
    line = host.lines("run")[-1]
    assert line["error"] == "policy p0: not /bin"
    assert [(one["policy"], one["action"]) for one in line["decisions"]] == [("p0", "denied")]


def test_the_message_reaches_the_engines_log(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    in_force(host, {"deny": [{"message": "never"}]})
    host.runtime.globals += ["--log", str(tmp_path / "log"), "--log-format", "json"]
    assert host.runtime.run(bundle.path).status == 1
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert last["level"] == "error"
    assert last["msg"].startswith("policy p0: never")


def test_exec_by_flags_and_by_file(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    in_force(
        host,
        {
            "match": {"command": "exec"},
            "deny": [{"when": {"field": "/process/user/uid", "equals": 7}, "message": "not as 7"}],
        },
        {"match": {"command": "exec", "annotations": {"team": "red"}}, "env": {"force": {"FROM": "policy"}}},
    )
    bundle.config["annotations"] = {"team": "red"}
    bundle.command("sleep", "600")
    box = host.runtime.run_detached(bundle.path)
    assert host.runtime.exec(box, "sh", "-c", "echo $FROM").out == "policy\n"
    process = {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh", "-c", "echo $FROM"], "env": ["PATH=/bin"]}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    assert host.runtime.call("exec", "--process", str(file), box).out == "policy\n"
    file.write_text(json.dumps({**process, "user": {"uid": 7, "gid": 7}}))
    for words in (["exec", "--user", "7", box, "true"], ["exec", "--process", str(file), box]):
        result = host.runtime.call(*words)
        assert result.status == 255
        assert "exec failed: policy p0: not as 7" in result.err
        assert host.lines("exec")[-1]["decisions"][0]["action"] == "denied"
    result = host.runtime.exec("nosuch", "true")
    assert result.status == 255
    assert "container does not exist" in result.err


def test_exec_does_not_put_back_what_a_policy_removed(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    """What a process of --process leaves out, it has of the container; policies judge it with that."""
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512}]
    box = host.runtime.run_detached(bundle.command("sleep", "600").path)
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"cwd": "/", "args": ["sh", "-c", "ulimit -n"], "env": ["PATH=/bin"]}))
    words = "exec", "--process", str(file), box
    assert host.runtime.call(*words).out == "512\n"
    in_force(host, {"match": {"command": "exec"}, "patch": [{"op": "remove", "path": "/process/rlimits"}]})
    result = host.runtime.call(*words)
    assert result.status == 0, result.err
    assert result.out != "512\n"


def test_exec_with_another_runtime(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    """A denial holds; a change, which the other runtime would not see, is refused."""
    in_force(
        host,
        {
            "match": {"command": "exec"},
            "deny": [{"when": {"field": "/process/user/uid", "equals": 7}, "message": "not as 7"}],
        },
        {
            "match": [{"command": "exec"}, {"field": "/process/cwd", "equals": "/tmp"}],
            "env": {"force": {"FROM": "policy"}},
        },
    )
    settings = json.loads((host.config / "config.yaml").read_text())
    (host.config / "config.yaml").write_text(json.dumps({**settings, "runtime": RUNC}))
    host.apply()
    bundle.command("sleep", "600")
    box = host.runtime.run_detached(bundle.path)
    assert host.runtime.exec(box, "echo", "runs").out == "runs\n"
    assert "policy p0: not as 7" in host.runtime.call("exec", "--user", "7", box, "true").err
    refused = host.runtime.call("exec", "--cwd", "/tmp", box, "true")
    assert refused.status == 255
    assert "policy p1 changes the process, which another runtime would not see" in refused.err


def test_host_namespaces_are_known_by_what_they_are(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    in_force(host, {"namespaces": {"forbidHost": ["uts"]}})
    assert host.runtime.run(bundle.path).status == 0
    link = tmp_path / "uts"
    link.symlink_to("/proc/self/ns/uts")
    bundle.without_namespace("uts")
    bundle.linux["namespaces"].append({"type": "uts", "path": str(link)})
    bundle.config.pop("hostname")
    bundle.write()
    assert "the host's uts namespace is not allowed" in host.runtime.run(bundle.path).err


def test_policies_that_are_gone_are_not_forgotten(host: ConfiguredHost, bundle: Bundle) -> None:
    """Who deletes the snapshot alone does not get rid of the policies; the operator can, and can have them back."""
    in_force(host, {"deny": [{"message": "never"}]})
    (host.state / "snapshot").unlink()
    bundle.command("true")
    result = host.runtime.run(bundle.path)
    assert result.status == 1
    assert f"the snapshot {host.state}/snapshot is gone" in result.err
    told = host.hookctl("doctor")
    assert told.status == 1
    assert "hookctl rollback" in told.out
    assert host.hookctl("rollback", "--yes").status == 0
    assert "policy p0: never" in host.runtime.run(bundle.path).err
    (host.state / "snapshot").unlink()
    host.apply()
    assert "policy p0: never" in host.runtime.run(bundle.path).err
    (host.config / "policies.d/p0.yaml").unlink()
    host.apply()
    assert host.runtime.run(bundle.path).status == 0


def test_an_exception_lets_through_until_it_ends_without_another_apply(host: ConfiguredHost, bundle: Bundle) -> None:
    end = time.time() + 10
    until = datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds")
    old = {"match": {"annotations": {"team": "old"}}, "reason": "legacy", "until": until}
    in_force(host, {**DENY_BIN, "exceptions": [old]})
    bundle.add_mount("/host", "bind", "/bin", "rbind")
    bundle.config["annotations"] = {"team": "old"}
    bundle.command("true")
    assert host.runtime.run(bundle.path).status == 0
    (decision,) = host.lines("run")[-1]["decisions"]
    assert (decision["action"], decision["message"]) == ("exempt", f"exception in line 1, until {until}: legacy")
    time.sleep(max(0.0, end - time.time()))
    result = host.runtime.run(bundle.path)
    assert result.status == 1
    assert f"policy p0: not /bin (its exception in line 1 ended: {until})" in result.err
    (decision,) = host.lines("run")[-1]["decisions"]
    assert decision["exception"] == {"line": 1, "reason": "legacy", "until": until, "ended": True}


def test_owner_and_severity_are_recorded_and_reported(host: ConfiguredHost, bundle: Bundle) -> None:
    in_force(host, DENY_BIN, {"deny": [{"when": {"field": "/hostname", "equals": "no"}, "message": "m"}]})
    policy = host.config / "policies.d/p0.yaml"
    values = json.loads(policy.read_text())
    policy.write_text(json.dumps({**values, "metadata": {"name": "p0", "owner": "team red", "severity": "high"}}))
    host.apply()
    bundle.command("true")
    assert host.runtime.run(bundle.path).status == 0
    bundle.add_mount("/host", "bind", "/bin", "rbind").write()
    assert host.runtime.run(bundle.path).status == 1
    passed, plain = host.lines("run")[0]["decisions"]
    (denied,) = host.lines("run")[1]["decisions"]
    assert all((one["severity"], one["owner"]) == ("high", "team red") for one in (passed, denied))
    assert not {"severity", "owner"} & set(plain)
    told = json.loads(host.hookctl("report", "--json").out)["policies"]
    assert [(one["policy"], one["severity"], one["owner"], one["denied"]) for one in told] == [
        ("p0", "high", "team red", 1),
        ("p1", "", "", 0),
    ]
    lines = host.hookctl("report").out.splitlines()
    assert lines[0].split()[:4] == ["POLICY", "SEVERITY", "OWNER", "CONTAINERS"]
    assert lines[1].startswith("p0      high      team red ") and lines[2].startswith("p1      -         - ")


def test_values_in_a_message_are_masked_and_stay_in_their_line(
    host: ConfiguredHost, bundle: Bundle, tmp_path: Path
) -> None:
    message = "${container} has ${/process/env/*} and ${annotation:note}, no ${label:x}, ${/root/readonly}"
    in_force(host, {"deny": [{"when": {"field": "/process/user/uid", "equals": 0}, "message": message}]})
    bundle.config["process"]["env"] = ["PATH=/bin", "DB_PASSWORD=hunter22"]
    bundle.config["annotations"] = {"note": "a\nlevel=fatal \x1b[2J hunter22"}
    bundle.command("true")
    host.runtime.globals += ["--log", str(tmp_path / "log")]
    result = host.runtime.run(bundle.path)
    line = host.lines("run")[-1]
    start = f"policy p0: {line['container']} has PATH=/bin, DB_PASSWORD=***"
    assert line["decisions"], result.err
    for text in (
        result.err.strip(),
        line["error"],
        line["decisions"][0]["message"],
        (tmp_path / "log").read_text().strip(),
    ):
        assert "hunter22" not in text and "\n" not in text and "\x1b" not in text, text
    assert line["error"].startswith(start)
    assert " and a\\nlevel=fatal \\x1b[2J ***" in line["error"] and line["error"].endswith(", no (none), false")
    assert result.status == 1 and start in result.err


def test_a_size_a_list_from_a_file_and_several_subjects(host: ConfiguredHost, bundle: Bundle) -> None:
    teams = host.config / "policies.d/teams.list"
    teams.parent.mkdir(exist_ok=True)
    teams.write_text("- red\n- blue\n")
    large = {"field": "/linux/resources/memory/limit", "greater": "64Mi"}
    asked = {"command": "run", "annotation": "team", "in": {"file": "teams.list"}, "all": [large]}
    in_force(host, {"deny": [{"when": asked, "message": "${annotation:team}: too much"}]})
    teams.unlink()
    bundle.command("true")
    rows = [("red", (64 << 20) + 4096, True), ("red", 64 << 20, False), ("green", 65 << 20, False)]
    for team, limit, is_denied in rows:
        bundle.config["annotations"] = {"team": team}
        bundle.config["linux"]["resources"] = {"memory": {"limit": limit}}
        bundle.write()
        result = host.runtime.run(bundle.path)
        assert (result.status == 1) is is_denied, (team, limit, result.err)
        assert ("policy p0: red: too much" in result.err) is is_denied
