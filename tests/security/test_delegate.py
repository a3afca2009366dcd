"""Another runtime behind policies: it reads the very config that was judged, and nobody can exchange it in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper import ownership
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost
from tests.support.runtimes import RUNC
from tests.wrapper.decision.test_gate import in_force

OTHER = 4323
CRUN = shutil.which("crun", path="/usr/sbin:/usr/bin:/sbin:/bin")


def delegating(host: ConfiguredHost, runtime: str, *specs: dict[str, Any]) -> None:
    settings = json.loads((host.config / "config.yaml").read_text())
    (host.config / "config.yaml").write_text(json.dumps({**settings, "runtime": runtime}))
    in_force(host, *specs)


FORBID_ROOT = {"user": {"forbidRoot": True}}


def test_a_config_that_others_can_exchange_is_refused(host: ConfiguredHost, bundle: Bundle) -> None:
    delegating(host, RUNC, {"deny": [{"when": {"field": "/hostname", "equals": "bad"}, "message": "no"}]})
    bundle.shell("echo ran")
    assert host.runtime.run(bundle.path).out == "ran\n"
    config = bundle.path / "config.json"
    rows: list[tuple[Path, Callable[[], None], Callable[[], None]]] = [
        (bundle.path, lambda: os.chown(bundle.path, OTHER, OTHER), lambda: os.chown(bundle.path, 0, 0)),
        (bundle.path, lambda: bundle.path.chmod(0o775), lambda: bundle.path.chmod(0o755)),
        (config, lambda: os.chown(config, OTHER, OTHER), lambda: os.chown(config, 0, 0)),
        (config, lambda: config.chmod(0o666), lambda: config.chmod(0o644)),
    ]
    for place, change, back in rows:
        change()
        result = host.runtime.run(bundle.path)
        assert (result.status, result.out) == (1, "")
        assert f"{place}: users other than root can write it" in result.err
        back()
        assert host.runtime.run(bundle.path).out == "ran\n"


def test_every_directory_and_link_on_the_way_counts(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    delegating(host, RUNC, {"deny": [{"when": {"field": "/hostname", "equals": "bad"}, "message": "no"}]})
    bundle.shell("echo ran")
    above = tmp_path / "above"
    above.mkdir()
    (above / "link").symlink_to(bundle.path)
    assert host.runtime.run(above / "link").out == "ran\n"
    os.chown(above, OTHER, OTHER)
    assert f"{above}: users other than root can write it" in host.runtime.run(above / "link").err
    os.chown(above, 0, 0)
    os.chown(above / "link", OTHER, OTHER, follow_symlinks=False)
    assert f"{above}/link: users other than root can write it" in host.runtime.run(above / "link").err


def test_without_policies_or_another_runtime_a_bundle_may_be_anybodys(host: ConfiguredHost, bundle: Bundle) -> None:
    os.chown(bundle.path, OTHER, OTHER)
    bundle.shell("echo ran")
    delegating(host, RUNC)
    assert host.runtime.run(bundle.path).out == "ran\n"
    delegating(host, "", {"deny": [{"when": {"field": "/hostname", "equals": "bad"}, "message": "no"}]})
    assert host.runtime.run(bundle.path).out == "ran\n"


def test_ways_that_are_roots_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert ownership.exchangeable(str(tmp_path / "file")) == ""
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "mine").write_text("")
    assert ownership.exchangeable(f"{sticky}/mine") == ""
    (sticky / "theirs").write_text("")
    os.chown(sticky / "theirs", OTHER, OTHER)
    assert ownership.exchangeable(f"{sticky}/theirs")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels"):
        ownership.exchangeable(str(tmp_path / "circle"))
    with pytest.raises(FileNotFoundError):
        ownership.exchangeable(f"{tmp_path}/nosuch")
    assert ownership.exchangeable(f"{tmp_path}/sticky/../file") == ""


def test_the_other_runtime_reads_what_was_judged(host: ConfiguredHost, bundle: Bundle) -> None:
    """Keys in another case, and one twice, that each decoder would take otherwise."""
    delegating(host, RUNC, {"deny": [{"when": {"field": "/hostname", "equals": "bad"}, "message": "no"}]})
    bundle.command("sleep", "100")
    text = (bundle.path / "config.json").read_text()
    twice = text.replace('"hostname": "test"', '"hostname": "bad", "HostName": "good", "Root": {"ReadOnly": true}')
    (bundle.path / "config.json").write_text(twice)
    container = host.runtime.run_detached(bundle.path)
    found = json.loads((bundle.path / "config.json").read_text())
    assert (found["hostname"], found["root"]["readonly"], found["root"]["path"]) == ("good", True, "rootfs")
    assert not {"HostName", "Root"} & found.keys()
    assert host.runtime.call("delete", "--force", container).status == 0
    assert (bundle.path / "config.json").read_text() == twice


@pytest.mark.parametrize("runtime", [RUNC, CRUN])
def test_numbers_that_another_runtime_would_take_otherwise(
    runtime: str | None, host: ConfiguredHost, bundle: Bundle
) -> None:
    """crun runs uid 4294967295 as root; runc cuts a device's major 4294967304 to 8."""
    if runtime is None:
        pytest.skip("no crun on this machine")
    delegating(host, runtime, FORBID_ROOT)
    bundle.process["user"] = {"uid": 0xFFFFFFFF, "gid": 0xFFFFFFFF}
    result = host.runtime.run(bundle.command("id").path)
    assert (result.status, result.out) == (1, "")
    assert "uids and gids must be in range" in result.err
    bundle.process["user"] = {"uid": 5, "gid": 5}
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "b", "major": (1 << 32) + 8, "minor": 0}]
    result = host.runtime.run(bundle.command("true").path)
    assert result.status == 1
    assert "linux.devices.0.major" in result.err
    bundle.linux["devices"] = []
    bundle.process["user"]["uid"] = "0"
    result = host.runtime.run(bundle.command("true").path)
    assert result.status == 1
    assert "process.user.uid: must be a whole number" in result.err


def test_exec_of_a_process_that_was_not_judged(host: ConfiguredHost, bundle: Bundle, tmp_path: Path) -> None:
    """A file that others can exchange, or that hookrun can't read and the other runtime perhaps can."""
    delegating(host, RUNC, FORBID_ROOT)
    bundle.process["user"] = {"uid": 5, "gid": 5}
    container = host.runtime.run_detached(bundle.command("sleep", "1000").path)
    file = tmp_path / "process.json"
    process = {"args": ["id", "-u"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 7, "gid": 7}}
    file.write_text(json.dumps(process))
    assert host.runtime.call("exec", "--process", str(file), container).out == "7\n"
    os.chown(file, OTHER, OTHER)
    result = host.runtime.call("exec", "--process", str(file), container)
    assert (result.status, result.out) == (255, "")
    assert f"{file}: users other than root can write it" in result.err
    os.chown(file, 0, 0)
    for text in (
        json.dumps({**process, "user": {"uid": 0xFFFFFFFF, "gid": 0}}),
        json.dumps({**process, "User": {"uid": 0}}),
        json.dumps(process)[:-1] + "}}",
        json.dumps(process)[:-1] + ', "user": {}}',
        json.dumps(process).replace("args", "Args"),
    ):
        file.write_text(text)
        result = host.runtime.call("exec", "--process", str(file), container)
        assert (result.status, result.out) == (255, ""), text
    result = host.runtime.call("exec", "--user", str(0xFFFFFFFF), container, "id")
    assert (result.status, result.out) == (255, "")


# --- what hookrun knows about a bundle does not lie in it


def test_nothing_is_injected_twice_and_nothing_is_left(host: ConfiguredHost, bundle: Bundle) -> None:
    log = host.log / "hooked"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {log}"]}
    in_force(host, {"hooks": {"createRuntime": [hook]}})
    bundle.shell("exit 0")
    before = (bundle.path / "config.json").read_bytes()
    for _ in range(2):
        assert host.runtime.run(bundle.path).status == 0
    assert log.read_text() == "x\n" * 2
    assert (bundle.path / "config.json").read_bytes() == before
    container = host.runtime.create(bundle.path)
    assert (bundle.path / "config.json").read_bytes() != before
    again = host.runtime.create(bundle.path)
    assert log.read_text() == "x\n" * 4
    for name in (container, again):
        assert host.runtime.call("delete", "--force", name).status == 0
    assert (bundle.path / "config.json").read_bytes() == before
    assert list((host.state / "bundles").iterdir()) == []
    assert sorted(path.name for path in bundle.path.iterdir() if not path.name.endswith(".output")) == [
        "config.json",
        "rootfs",
    ]


def test_a_create_that_fails_leaves_the_bundle_as_it_was(host: ConfiguredHost, bundle: Bundle) -> None:
    in_force(host, {"env": {"force": {"A": "b"}}})
    bundle.command("nosuchprogram")
    before = (bundle.path / "config.json").read_bytes()
    assert host.runtime.run(bundle.path).status == 1
    assert (bundle.path / "config.json").read_bytes() == before


def test_hookrun_behind_hookrun_changes_nothing_twice(host: ConfiguredHost, bundle: Bundle) -> None:
    log = host.log / "hooked"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {log}"]}
    host.register("docker", host.config.parent / "other.json", "--name", "inner")
    delegating(host, "", {"hooks": {"createRuntime": [hook]}})
    settings = json.loads((host.config / "config.yaml").read_text())
    settings["profiles"] = {"hookrun": {"runtime": str(host.launchers / "inner")}}
    (host.config / "config.yaml").write_text(json.dumps(settings))
    host.apply()
    assert host.runtime.run(bundle.shell("exit 0").path).status == 0
    assert log.read_text() == "x\n"
    assert [line["runtime"]["name"] for line in host.lines("run")] == ["hookrun", "inner"]


def test_a_forged_note_in_the_bundle_passes_nothing(host: ConfiguredHost, bundle: Bundle) -> None:
    """0.1.0 believed `.hookrun-original` with the digest of config.json and the pid that hookrun was going to have."""
    in_force(host, {"deny": [{"message": "never"}]})

    digest = sha256((bundle.command("true").path / "config.json").read_bytes()).hexdigest()
    # The shell becomes hookrun, so that its own pid is hookrun's.
    script = f'echo "{digest} $$" > {bundle.path}/.hookrun-original; exec "$@"'
    words = [*host.runtime.globals, "run", "--bundle", str(bundle.path), "hr-forged"]

    done = subprocess.run(
        ["sh", "-c", script, "sh", host.runtime.program, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "policy p0: never" in done.stderr
