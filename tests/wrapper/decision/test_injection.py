"""Hooks meet a real call: hookrun's own process, its record and the container that comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper import snapshot
from hookrun.wrapper.cli import argv
from hookrun.wrapper.decision import gate
from hookrun.wrapper.decision.invocation import of_call
from hookrun.wrapper.patch.bundle import Bundle as ReadBundle
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost as Host
from tests.support.runtimes import Runtime


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


def test_a_hook_of_each_stage_runs_and_is_recorded(host: Host, bundle: Bundle) -> None:
    (bundle.rootfs / "hook").write_text("#!/bin/sh\ntouch /started\n")
    (bundle.rootfs / "hook").chmod(0o755)
    note = host.script("note", f'cat >/dev/null; echo "$1" >>{host.log}/stages')
    stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    for number, stage in enumerate(stages):
        host.hook(f"{number}.json", note, stage, args=["note", stage])
    host.hook("9.json", "/hook", "startContainer")
    host.apply()
    bundle.process["user"] = {"uid": 0, "gid": 0}
    assert host.runtime.run(bundle.shell("ls /started").path).out == "/started\n"
    assert (host.log / "stages").read_text().split() == stages
    (line,) = [line for line in host.lines() if line["command"] == "run"]
    assert [(hook["stage"], Path(hook["file"]).name, hook["line"]) for hook in line["hooks"]] == [
        *((stage, f"{number}.json", 3) for number, stage in enumerate(stages)),
        ("startContainer", "9.json", 3),
    ]


def test_conditions_and_masking(host: Host, bundle: Bundle) -> None:
    note = host.script("note", f'echo "$1" >>{host.log}/said')
    host.hook("1.json", note, "createRuntime", args=["note", "shell"], commands=["/sh$"])
    host.hook("2.json", note, "createRuntime", args=["note", "true"], commands=["^true$"])
    host.hook("3.json", note, "createRuntime", args=["note", "labelled"], annotations={"^team$": "^(a|b)$"})
    host.apply()
    assert host.runtime.run(bundle.shell("true").path).status == 0
    bundle.config["annotations"] = {"team": "b"}
    assert host.runtime.run(bundle.command("true").path).status == 0
    assert (host.log / "said").read_text().split() == ["shell", "true", "labelled"]


def test_a_filter_changes_the_container(host: Host, bundle: Bundle) -> None:
    host.hook("1.json", host.script("filter", "sed s/test/filtered/"), "precreate")
    host.apply()
    assert host.runtime.run(bundle.shell("hostname").path).out == "filtered\n"
    (line,) = host.lines()
    assert line["hooks"][0]["stage"] == "precreate"
    assert {"op": "replace", "path": "/hostname", "value": "filtered"} in line["config"]["patch"]


def test_a_filter_that_fails_stops_the_container(host: Host, bundle: Bundle) -> None:
    path = host.script("filter", "echo not today >&2; exit 1")
    host.hook("1.json", path, "precreate")
    host.apply()
    result = host.runtime.run(bundle.path)
    assert result.status == 1
    assert f"precreate filter {path} ({host.config}/hooks.d/1.json:3): exit status 1: not today" in result.err


def test_oci_add_hooks_on_the_command_line(host: Host, bundle: Bundle) -> None:
    file = host.config / "add.json"
    file.write_text(
        json.dumps({"hooks": {"createRuntime": [{"path": host.script("note", f"echo x >>{host.log}/said")}]}})
    )
    runtime = Runtime(host.runtime.program, host.runtime.root)
    runtime.globals = ["--hook-config-path", str(file), *runtime.globals]
    assert runtime.run(bundle.path).status == 0
    assert (host.log / "said").read_text() == "x\n"
    file.write_text("{")
    result = runtime.run(bundle.path)
    assert result.status == 1
    assert f"hooks: {file}: " in result.err


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_cdi_device_is_in_the_container(host: Host, bundle: Bundle, kind: str) -> None:
    cdi = host.config / "cdi"
    cdi.mkdir()
    edits: dict[str, Any] = {"env": ["GPU=0"], "deviceNodes": [{"path": "/dev/gpu", "hostPath": "/dev/zero"}]}
    edits["hooks"] = [{"hookName": "createRuntime", "path": host.script("note", f"echo x >>{host.log}/said")}]
    text = json.dumps(
        {"cdiVersion": "0.5.0", "kind": "vendor.com/gpu", "devices": [{"name": "a", "containerEdits": edits}]}, indent=1
    )
    (cdi / f"spec.{kind}").write_text(text if kind == "json" else f"---\n{text}\n")
    host.settings(cdi={"directories": ["cdi"]})
    host.apply()
    bundle.config["annotations"] = {"cdi.k8s.io/x": "vendor.com/gpu=a"}
    result = host.runtime.run(bundle.shell("echo $GPU; head -c 3 /dev/gpu | wc -c").path)
    assert result.out.split() == ["0", "3"], result.err
    assert (host.log / "said").read_text() == "x\n"
    (line,) = host.lines()
    assert (line["hooks"][0]["source"], line["hooks"][0]["file"]) == ("cdi vendor.com/gpu", f"{cdi}/spec.{kind}")
    bundle.config["annotations"] = {"cdi.k8s.io/x": "vendor.com/gpu=b"}
    result = host.runtime.run(bundle.write().path)
    assert result.status == 1
    assert "unresolvable CDI devices vendor.com/gpu=b: vendor.com/gpu has no such device" in result.err


@pytest.mark.parametrize(
    "change", [{"annotations": {"cdi.k8s.io/x": 1}}, {"annotations": []}, {"mounts": ["x"]}, {"process": "x"}]
)
def test_a_config_of_wrong_types_is_refused_as_ever(host: Host, bundle: Bundle, change: dict[str, Any]) -> None:
    host.hook("1.json", "/bin/true", "prestart", hasBindMounts=True, commands=["x"], annotations={"a": "b"})
    host.apply()
    bundle.config.update(change)
    result = host.runtime.run(bundle.write().path)
    assert result.status == 1
    assert "internal error" not in result.err
    assert "config.json" in result.err or "json" in result.err


def test_what_is_wrong_is_not_applied(host: Host) -> None:
    host.hook("1.json", "relative", "prestart")
    result = host.hookctl("apply", "--yes")
    assert result.status == 1
    assert f"{host.config}/hooks.d/1.json:3: path must be absolute: 'relative'" in result.err


def test_each_stage_sees_what_those_before_made_of_the_config(host: Host, tmp_path: Path) -> None:
    """Policies, devices, the command line's hooks, the host's, filters: here each asks for what the one before gave."""
    (host.config / "cdi").mkdir()
    edits = {
        "hooks": [{"hookName": "prestart", "path": "/bin/true"}],
        "mounts": [{"hostPath": "/bin", "containerPath": "/b", "options": ["bind"]}],
    }
    spec = {"cdiVersion": "0.5.0", "kind": "vendor.com/gpu", "devices": [{"name": "a", "containerEdits": edits}]}
    (host.config / "cdi/spec.json").write_text(json.dumps(spec))
    host.settings(cdi={"directories": ["cdi"]})
    host.hook("1.json", "/bin/false", "prestart", hasBindMounts=True)
    host.hook("2.json", host.script("filter", "sed s/prestart/poststop/"), "precreate", hasBindMounts=True)
    policy = {
        "apiVersion": "hookrun/v1",
        "kind": "Policy",
        "metadata": {"name": "p"},
        "spec": {"merge": {"annotations": {"cdi.k8s.io/x": "vendor.com/gpu=a"}}},
    }
    (host.config / "policies.d").mkdir()
    (host.config / "policies.d/p.yaml").write_text(json.dumps(policy))
    host.apply()
    (tmp_path / "add.json").write_text(json.dumps({"hooks": {"prestart": [{"path": "/bin/sh"}]}}))
    (tmp_path / "config.json").write_text("{}")
    words = ["hookrun", "--hook-config-path", f"{tmp_path}/add.json", "create", "--bundle", str(tmp_path), "box"]
    invocation = of_call(argv.parse([word.encode() for word in words]), snapshot.load(str(host.state)))
    invocation.bundle = ReadBundle(str(tmp_path))
    before = invocation.bundle.config
    outcome = gate.decide(before, invocation)
    assert before == {}
    assert outcome.config["hooks"] == {
        "poststop": [{"path": path} for path in ("/bin/true", "/bin/sh")]
        + [{"path": "/bin/false", "args": ["/bin/false"]}]
    }
    assert [(one["policy"], one["action"]) for one in outcome.decisions] == [("p", "patched")]
    assert [one["source"] for one in outcome.hooks] == ["cdi vendor.com/gpu", "oci-add-hooks", "hooks.d", "hooks.d"]
