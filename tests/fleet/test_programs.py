"""A bundle brings the programs of its hooks: each version its own, for as long as a snapshot can name them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hookrun.wrapper.admin import store
from hookrun.wrapper.admin.app import app
from hookrun.wrapper.admin.fleet import follow
from hookrun.wrapper.admin.host import Host
from tests.fleet.fleets import Follower, Publisher, policy
from tests.fleet.web import Web
from tests.support.bundles import Bundle
from tests.support.configured import ConfiguredHost

PROGRAM = "${bundle}/programs/note"


def hook_file(path: str, *stages: str) -> str:
    hook = {"version": "1.0.0", "hook": {"path": path}, "when": {"always": True}, "stages": stages}
    return json.dumps(hook)


def with_programs(log: Path, word: str) -> dict[str, str]:
    """A bundle's files: a program, what lies beside it, a policy and a hook file that name it."""
    return {
        "programs/note": f'#!/bin/sh\n. "${{0%/*}}/word"\necho "$WORD" >> {log}\n',
        "programs/word": f"WORD={word}\n",
        "policies.d/a.yaml": policy("a", hooks={"createRuntime": [{"path": PROGRAM}]}),
        "hooks.d/b.json": hook_file(PROGRAM, "createContainer"),
    }


def test_programs_come_and_go_with_their_version(
    publisher: Publisher, web: Web, host: ConfiguredHost, bundle: Bundle
) -> None:
    log = host.log / "said"
    log.touch()
    log.chmod(0o666)
    # The hook of createContainer is run by the container's root, who is nobody on the host.
    bundle.with_user_namespace().write()

    def follows(version: str, *before: str) -> None:
        publisher.publish(version, files=with_programs(log, version))
        publisher.promote(version, *before)
        follow.follow(Host(host.config, host.state), follow.Source(web.url, publisher.root))

    def said() -> list[str]:
        log.write_text("")
        result = host.runtime.run(bundle.path)
        assert result.status == 0, result.err
        return log.read_text().split()

    mask = os.umask(0o077)
    try:
        follows("1.0")
    finally:
        os.umask(mask)
    assert said() == ["1.0", "1.0"]
    paths = {row["path"] for row in json.loads(host.hookctl("hook", "list", "--json").out)} - {"those of the device"}
    (program,) = map(Path, paths)
    assert (program.stat().st_uid, program.stat().st_mode & 0o7777) == (0, 0o755)
    follows("2.0", "1.0")
    assert said() == ["2.0", "2.0"]
    assert host.hookctl("rollback", "--yes").status == 0
    assert said() == ["1.0", "1.0"]


def test_programs_stay_as_long_as_a_snapshot_is_made_of_them(
    publisher: Publisher, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_KEPT", 3)
    follower = Follower(tmp_path / "host", web.url, publisher.root)
    there = []
    for number in range(5):
        publisher.publish(str(number), files=with_programs(tmp_path, str(number)))
        publisher.promote(str(number))
        follower.follow()
        bundles = follower.host.fleet / "bundles"
        there.append(sorted((one / "programs/word").read_text() for one in bundles.iterdir()))
    assert there[-1] == ["WORD=2\n", "WORD=3\n", "WORD=4\n"]
    assert [len(one) for one in there] == [1, 2, 3, 3, 3]


def test_a_version_that_says_the_same_is_a_snapshot_too(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    """The snapshot in force names the bundle in force: nothing of the one before is needed for ever."""
    follower = Follower(tmp_path / "host", web.url, publisher.root)
    for version in ("1.0", "2.0"):
        publisher.publish(version, files={"policies.d/a.yaml": policy("a")})
        publisher.promote(version)
        follower.follow()
    entries = store.history(follower.host)
    assert [entry.about["why"] for entry in entries] == ["fleet: base 1.0", "fleet: base 2.0"]
    assert follower.plan[0].file == f"{follower.host.bundle}/policies.d/a.yaml"


def test_a_profile_of_the_bundle(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    files = {
        "seccomp/web.json": json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}),
        "policies.d/a.yaml": policy("a", seccomp={"force": "${bundle}/seccomp/web.json"}),
    }
    publisher.publish("1.0", files=files)
    publisher.promote("1.0")
    follower = Follower(tmp_path / "host", web.url, publisher.root)
    follower.follow()
    (found,) = follower.plan
    assert found.changes == (("seccomp.force", {"defaultAction": "SCMP_ACT_ALLOW"}),)


def of_policy(path: str, stage: str = "createRuntime", **more: Any) -> dict[str, str]:
    return {"policies.d/a.yaml": policy("a", hooks={stage: [{"path": path}]}), **more}


SCRIPT = {"programs/note": "#!/bin/sh\n"}
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no such program": (of_policy(PROGRAM), "programs/note"),
    "no such program, hook file": ({"hooks.d/a.json": hook_file(PROGRAM, "poststop")}, "programs/note"),
    "no program": (of_policy(PROGRAM) | {"programs/note": "text"}, "programs/note: it can't be executed: `chmod +x`"),
    "in the container": (
        of_policy(PROGRAM, "startContainer") | SCRIPT,
        "programs/note: hooks of startContainer run programs of the container, not of the bundle",
    ),
    "out of the bundle": (of_policy("${bundle}/../note"), "it must name a file of the bundle"),
    "out of the bundle, hook file": (
        {"hooks.d/a.json": hook_file("${bundle}/", "poststop")},
        "path must name a file of the bundle: '${bundle}/'",
    ),
    "neither absolute nor of the bundle": (of_policy("programs/note") | SCRIPT, "it must be absolute"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_hook_could_run_is_no_bundle(publisher: Publisher, tmp_path: Path, case: str) -> None:
    files, expected = WRONG[case]
    directory = publisher.bundle("1.0", files=files)
    result = CliRunner().invoke(app, ["bundle", "build", str(directory), "--output", str(tmp_path)])
    assert result.exit_code == 1, result.output
    assert expected in str(result.exception)
    assert not list(tmp_path.glob("*.tar.gz"))


def test_a_hosts_own_files_are_part_of_no_bundle(host: ConfiguredHost) -> None:
    (host.config / "policies.d").mkdir()
    (host.config / "policies.d/a.yaml").write_text(policy("a", hooks={"poststop": [{"path": PROGRAM}]}))
    (host.config / "hooks.d/a.json").write_text(hook_file(PROGRAM, "poststop"))
    result = host.hookctl("apply", "--yes")
    assert result.status == 1
    for what in ("policies", "hook files"):
        assert f"there is no {host.config}/bundle.yaml: ${{bundle}} is for {what} of a fleet's bundle" in result.err


def test_lint_and_tests_of_a_bundle_know_where_it_lies(publisher: Publisher) -> None:
    value = json.loads(policy("a", hooks={"poststop": [{"path": PROGRAM}]}))
    value["tests"] = [{"name": "it has it", "config": {}, "expect": {"hooks": {"poststop": [PROGRAM]}}}]
    directory = publisher.bundle("1.0", files={"policies.d/a.yaml": json.dumps(value), **SCRIPT})
    for words in (("policy", "lint"), ("policy", "test")):
        result = CliRunner().invoke(app, [*words, str(directory / "policies.d/a.yaml")])
        assert result.exit_code == 0, (result.output, result.exception)


def test_a_policy_is_the_same_wherever_its_bundle_lies(publisher: Publisher, tmp_path: Path) -> None:
    old, new = (publisher.bundle(word, files=with_programs(tmp_path, word)) for word in ("1.0", "2.0"))
    found = json.loads(CliRunner().invoke(app, ["bundle", "diff", str(old), str(new), "--json"]).stdout)
    assert found["policies"] == {"added": [], "removed": [], "changed": []}
    assert {"-WORD=1.0", "+WORD=2.0"} <= set(found["files"])
