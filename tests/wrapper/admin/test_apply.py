"""`hookctl apply`, `history` and `rollback`: what is refused, what is shown, what is in force."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from hookrun.policies import policy
from hookrun.wrapper import settings, snapshot
from hookrun.wrapper.admin import sources
from tests.support.places import short_place
from tests.support.runtimes import HOOKCTL
from tests.wrapper.admin.support import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def names(content: snapshot.Content) -> list[str]:
    return [policy.unpacked(data).name for data in content["policies"]["policies"]]


def test_an_empty_host(desk: Desk) -> None:
    desk.check("apply", "--yes")
    content = desk.in_force()
    assert names(content) == []
    assert content["settings"] == {
        **settings.DEFAULTS,
        "mask": {**settings.DEFAULTS["mask"], "salt": content["settings"]["mask"]["salt"]},
    }
    assert desk.state.joinpath("snapshot").stat().st_mode & 0o777 == 0o644
    assert snapshot.on_error(str(desk.state)) == "deny"


def test_it_asks_only_on_a_terminal(desk: Desk) -> None:
    result = desk("apply")
    assert result.status == 1
    assert "nobody to ask: add --yes" in result.err
    assert not desk.state.joinpath("snapshot").exists()


@pytest.mark.parametrize(("answer", "applied"), [(b"y\n", True), (b"n\n", False)])
def test_it_asks_on_a_terminal(desk: Desk, answer: bytes, applied: bool) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [HOOKCTL, "--config", desk.config, "--state", desk.state, "apply"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "dumb"},
    )
    os.close(theirs)
    os.write(ours, answer)
    output, _ = process.communicate(timeout=120)
    os.close(ours)
    assert b"Put this in force?" in output
    assert (process.returncode == 0) is applied
    assert desk.state.joinpath("snapshot").exists() is applied


def test_it_shows_what_changes(desk: Desk) -> None:
    desk.policy("a", {"merge": {"hostname": "x"}})
    desk.policy("gone", {"merge": {"hostname": "y"}})
    assert "+ policy a\n+ policy gone\n" in desk.check("apply", "--yes")
    assert desk.check("apply", "--yes") == "nothing to change\n"
    desk.policy("a", {"merge": {"hostname": "z"}})
    desk.policy("new", {})
    (desk.policies / "gone.yaml").unlink()
    desk.settings("record: {maxAge: 60}\n")
    shown = desk.check("apply", "--dry-run")
    lines = shown.splitlines()
    assert lines[:4] == ["+ policy new", "- policy gone", "~ policy a", "~ settings"]
    assert any(line.startswith("+") and '"z"' in line for line in lines)
    assert names(desk.in_force()) == ["a", "gone"]
    desk.check("apply", "--yes")
    assert names(desk.in_force()) == ["a", "new"]
    assert desk.in_force()["settings"]["record"]["maxAge"] == 60


def test_moving_a_policy_within_its_file_changes_nothing(desk: Desk) -> None:
    path = desk.policy("a", {"merge": {"hostname": "x"}})
    desk.check("apply", "--yes")
    path.write_text("# a comment\n\n" + path.read_text())
    assert desk.check("apply", "--yes") == "nothing to change\n"


def test_history_and_rollback(desk: Desk) -> None:
    for name in ("one", "two", "three"):
        desk.policy(name, {})
        desk.check("apply", "--yes")
    assert [line.split()[0] for line in desk.check("history").splitlines()] == ["NUMBER", "1", "2", "*"]
    said = desk.check("rollback", "--yes").splitlines()
    assert said[0] == "in force: number 2" and "the next `hookctl apply` puts them in force again" in said[1]
    assert names(desk.in_force()) == ["one", "two"]
    assert desk.check("rollback", "--yes").splitlines()[0] == "in force: number 1"
    assert "no snapshot before" in desk("rollback", "--yes").err
    assert desk.check("rollback", "3", "--yes").splitlines()[0] == "in force: number 3"
    assert names(desk.in_force()) == ["one", "three", "two"]
    assert "no snapshot with number 9" in desk("rollback", "9", "--yes").err
    desk.check("rollback", "1", "--yes")
    assert "+ policy two" in desk.check("apply", "--yes")
    assert desk.in_force()["number"] == 4


def test_history_says_who_and_why(desk: Desk) -> None:
    desk.policy("one", {})
    desk.check("apply", "--yes", "--message", "for the audit")
    desk.policy("one", {"merge": {"hostname": "x"}})
    assert desk("apply", "--dry-run", "--exit-code").status == 1
    assert desk("apply", "--dry-run").status == 0
    desk.check("apply", "--yes")
    assert desk("apply", "--dry-run", "--exit-code").status == 0
    first, second = json.loads(desk.check("history", "--json"))
    assert (first["why"], second["why"], first["inForce"], second["inForce"]) == ("for the audit", "", False, True)
    assert first["who"] == second["who"] != ""
    assert first["digest"] != second["digest"] and len(first["digest"]) == 64
    assert "for the audit" in desk.check("history").splitlines()[1]
    lines = desk.check("history", "diff", "1", "2").splitlines()
    assert lines[0] == "~ policy one" and any(line.startswith("+") and '"x"' in line for line in lines)
    assert desk.check("history", "diff", "2", "2") == "they are the same\n"
    assert "no snapshot with number 9" in desk("history", "diff", "1", "9").err


def test_history_is_roots() -> None:
    with short_place() as place:
        desk = Desk(place)
        desk.check("apply", "--yes")
        done = subprocess.run(
            [HOOKCTL, "--config", desk.config, "--state", desk.state, "history"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            user=1234,
            env={},
        )
    assert (done.returncode, done.stderr) == (
        1,
        f"hookctl: cannot read {desk.state}/history: permission denied; only root can read it\n",
    )


def test_nothing_is_applied_with_a_fault_in_it(desk: Desk) -> None:
    desk.policy("good", {})
    desk.check("apply", "--yes")
    before = (desk.state / "snapshot").read_bytes()
    (desk.policies / "bad.yaml").write_text(
        "apiVersion: hookrun/v1\nkind: Policy\nmetadata: {name: bad}\nspec: {mach: {}}\n"
    )
    desk.policy("worse", {"mode": "x"})
    result = desk("apply", "--yes")
    assert result.status == 1
    assert f"{desk.policies}/bad.yaml:4:8: spec: there is no 'mach' here; did you mean 'match'?" in result.err
    assert "worse.yaml:1:" in result.err
    assert "2 problems; nothing was applied" in result.err
    assert (desk.state / "snapshot").read_bytes() == before


def test_a_config_that_is_none_any_more(desk: Desk) -> None:
    desk.policy("wrong", {"merge": {"process": {"noNewPrivileges": "yes"}}})
    assert "policy wrong makes an invalid config of docker's: /process/noNewPrivileges" in desk("apply", "--yes").err


def test_a_policy_that_would_deny_everything_as_it_cannot_be_evaluated(desk: Desk) -> None:
    spec = {"patch": [{"op": "remove", "path": "/nosuch"}]}
    desk.policy("wrong", spec)
    refused = desk("apply", "--yes")
    assert refused.status == 1
    assert (
        "wrong.yaml:1:1: policy wrong would deny every container like docker's: it cannot be evaluated: " in refused.err
    )
    assert not (desk.state / "snapshot").exists()
    for harmless in ({"onError": "allow"}, {"mode": "audit"}, {"match": {"all": [{"engine": "buildah"}]}}):
        desk.policy("wrong", {**spec, **harmless})
        desk.check("apply", "--yes")


@pytest.mark.parametrize("what", ["policy", "directory", "settings", "config", "hook"])
def test_what_others_can_write_is_refused(desk: Desk, what: str) -> None:
    hook = desk.config / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    file = desk.policy("a", {"hooks": {"poststop": [{"path": str(hook)}]}})
    desk.settings("")
    desk.check("apply", "--yes")
    place = {
        "policy": file,
        "directory": desk.policies,
        "settings": desk.config / "config.yaml",
        "config": desk.config,
        "hook": hook,
    }[what]
    place.chmod(place.stat().st_mode | 0o002)
    result = desk("apply", "--yes")
    assert result.status == 1
    assert "users other than root can write" in result.err
    assert str(place) in result.err


def test_a_hook_that_is_not_there(desk: Desk) -> None:
    desk.policy("a", {"hooks": {"poststop": [{"path": "/nosuch/hook"}]}})
    assert "a.yaml:1:1: /nosuch/hook: No such file or directory" in desk("apply", "--yes").err


SETTINGS: list[tuple[str, str]] = [
    ("recrod: {}\n", "config.yaml:1:1: there is no 'recrod' here; did you mean 'record'?"),
    ("record:\n  maxsize: 5\n", "config.yaml:2:3: record: there is no 'maxsize' here; did you mean 'maxSize'?"),
    ("record: {maxAge: 1d}\n", "config.yaml:1:18: record.maxAge: it must be a number of seconds, not '1d'"),
    ("runtime: runc\n", "config.yaml:1:10: runtime: it must be the absolute path of a runtime, not 'runc'"),
    ("onError: maybe\n", "config.yaml:1:10: onError: it must be deny or allow, not 'maybe'"),
    ("profiles: {audit: {record: {enabled: 1}}}\n", "profiles.audit.record.enabled: it must be true or false, not 1"),
    ("mask: {names: [1]}\n", "mask.names[0]: it must be a string, not 1"),
    ("a: [\n", "config.yaml:2:1: "),
    ("hooks: {directory: x}\n", "did you mean 'directories'?"),
]


@pytest.mark.parametrize(("text", "problem"), SETTINGS)
def test_settings_that_are_wrong(desk: Desk, text: str, problem: str) -> None:
    desk.settings(text)
    assert problem in desk("apply", "--yes").err


def test_settings(desk: Desk) -> None:
    desk.settings(
        "runtime: /usr/sbin/runc\nonError: allow\nprofiles: {hookrun-audit: {record: {maxAge: 5}}}\nrecord: {maxSize: 7}\n"
    )
    desk.check("apply", "--yes")
    content = desk.in_force()
    assert content["settings"]["runtime"] == "/usr/sbin/runc"
    profile = content["profiles"]["hookrun-audit"]
    assert (profile["runtime"], profile["record"]["maxAge"], profile["record"]["maxSize"]) == ("/usr/sbin/runc", 5, 7)
    assert snapshot.on_error(str(desk.state)) == "allow"


def test_on_error_alone_is_a_change(desk: Desk) -> None:
    desk.check("apply", "--yes")
    desk.settings("onError: allow\n")
    assert "~ onError: deny, then allow" in desk.check("apply", "--yes")
    assert snapshot.on_error(str(desk.state)) == "allow"
    assert desk.check("apply", "--yes") == "nothing to change\n"


def test_the_schema_of_the_settings_is_whole() -> None:
    known = json.loads(Path(sources.__file__).with_name("settings.json").read_text())["$defs"]["settings"]
    assert set(known) == set(settings.DEFAULTS)
    assert set(known["record"]["properties"]) == set(settings.DEFAULTS["record"])
    assert set(known["mask"]["properties"]) | {"salt"} == set(settings.DEFAULTS["mask"])


def test_the_salt_stays(desk: Desk) -> None:
    desk.check("apply", "--yes")
    salt = desk.in_force()["settings"]["mask"]["salt"]
    assert len(salt) == 32
    assert (desk.state / "salt").stat().st_mode & 0o777 == 0o600
    desk.policy("a", {})
    desk.check("apply", "--yes")
    assert desk.in_force()["settings"]["mask"]["salt"] == salt


def test_readers_never_see_half_a_snapshot(desk: Desk) -> None:
    """While one process applies again and again, every load is whole."""
    desk.policy("a", {"merge": {"hostname": "x" * 50_000}})
    desk.check("apply", "--yes")
    desk.policy("b", {"merge": {"hostname": "y" * 90_000}})
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            'for i in 1 2 3; do "$@" rollback 1 --yes; "$@" rollback 2 --yes; done',
            "sh",
            HOOKCTL,
            "--config",
            desk.config,
            "--state",
            desk.state,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    seen = 0
    while process.poll() is None and time.monotonic() < deadline:
        assert desk.in_force()
        seen += 1
    assert process.wait(120) in (0, 1)
    assert seen > 10


def test_a_list_in_a_file_is_part_of_what_is_applied(desk: Desk, tmp_path: Path) -> None:
    images = desk.config / "images.yaml"
    images.write_text("- nginx\n- redis\n")
    desk.policy("a", {"deny": [{"when": {"image": {"notIn": {"file": "../images.yaml"}}}, "message": "no"}]})
    desk.check("apply", "--yes")
    assert f'"{images}"' in desk.check("history", "--json")
    assert desk.check("apply", "--dry-run", "--exit-code") == "nothing to change\n"
    before = desk.in_force()["policies"]
    images.write_text("- nginx\n- valkey\n")
    result = desk("apply", "--dry-run", "--exit-code")
    assert result.status == 1
    assert result.out.splitlines()[:3] == ["~ policy a", f"--- {images}", f"+++ {images} (new)"]
    assert "-- redis" in result.out and "+- valkey" in result.out
    desk.check("apply", "--yes")
    assert desk.in_force()["policies"] != before
    assert "+- valkey" in desk.check("history", "diff", "1", "2")
    images.chmod(0o666)
    refused = desk("apply", "--yes")
    assert (
        refused.status == 1
        and f"{images}: users other than root can write it (mode 666): `chmod go-w {images}`" in refused.err
    )
    images.rename(tmp_path / "moved")
    (tmp_path / "moved").chmod(0o644)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    images.symlink_to(tmp_path / "moved")
    assert desk.check("apply", "--dry-run") == "nothing to change\n", "a link is as good"
    open_to_all.chmod(0o777)
    (tmp_path / "moved").rename(open_to_all / "file")
    images.unlink()
    images.symlink_to(open_to_all / "file")
    assert f"{open_to_all}: users other than root can write it (mode 777)" in desk("apply", "--yes").err
    images.unlink()
    assert f"spec.deny[0].when.image.notIn.file: there is no file {images}" in desk("apply", "--yes").err
