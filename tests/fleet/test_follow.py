"""A host takes over what its fleet has for it: the right version, checked, and back where that goes wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hookrun.wrapper.admin import sources, store
from hookrun.wrapper.admin.fleet import bundle, repository, rollout
from hookrun.wrapper.admin.fleet.rollout import Gate, Track
from tests.fleet.fleets import Follower, Publisher, denial, policy
from tests.fleet.web import Web


@pytest.fixture
def follower(tmp_path: Path, publisher: Publisher, web: Web) -> Follower:
    return Follower(tmp_path / "host", web.url, publisher.root)


def test_a_version_comes_and_goes_back(publisher: Publisher, follower: Follower) -> None:
    publisher.publish("1.0")
    publisher.publish("2.0")
    publisher.promote("1.0")
    assert follower.follow() == "base 1.0 is in force"
    assert follower.policies == ["of-1.0"]
    assert follower.follow() == "base 1.0 is in force: nothing to change"
    publisher.promote("2.0", "1.0")
    assert follower.follow() == "base 2.0 is in force"
    assert follower.policies == ["of-2.0"]
    publisher.promote("1.0")
    assert follower.follow() == "base 1.0 is in force"
    assert follower.policies == ["of-1.0"]


def test_the_hosts_own_policies_stay_and_the_fleets_count_more(publisher: Publisher, follower: Follower) -> None:
    follower.host.policies.mkdir()
    (follower.host.policies / "own.yaml").write_text(
        policy("own") + "\n---\n" + policy("of-1.0", env={"force": {"FROM": "host"}})
    )
    publisher.publish("1.0")
    publisher.promote("1.0")
    follower.follow()
    assert follower.policies == ["of-1.0", "own"]
    assert [str(follower.host.fleet) in one.file for one in follower.plan] == [
        one.name == "of-1.0" for one in follower.plan
    ]


def test_settings_and_hooks_of_a_bundle(publisher: Publisher, follower: Follower) -> None:
    hook = {"version": "1.0.0", "hook": {"path": "/bin/true"}, "when": {"always": True}, "stages": ["poststop"]}
    theirs = {"errors": {"traceHint": False}, "fleet": {"url": "http://elsewhere"}}
    files = {"config.yaml": json.dumps(theirs), "hooks.d/a.json": json.dumps(hook)}
    publisher.publish("1.0", files=files)
    publisher.promote("1.0")
    follower.follow()
    content = store.running(follower.host)
    assert content is not None
    assert content["settings"]["errors"] == {"traceHint": False}
    assert content["settings"]["record"]["directory"] == str(follower.record)
    assert [entry["hook"]["path"] for entry in content["hooks"]["entries"]] == ["/bin/true"]
    assert sources.read(follower.host).settings.fleet == {}, "which fleet it follows is the host's own matter"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a newer hookrun": ({"minimalHookrun": "99.0"}, "it needs hookrun 99.0 or later"),
    "another host": ({"hosts": {"tier": ["web"]}}, "it is for hosts whose label tier is web, here it is db"),
    "a policy that is none": ({"files": {"policies.d/a.yaml": "kind: Polizei"}}, "base 2.0 is refused here"),
    "a test that fails": (
        {
            "files": {
                "policies.d/a.yaml": policy("a")[:-1]
                + ', "tests": [{"name": "x", "config": {}, "expect": {"denied": "no"}}]}'
            }
        },
        "a: x: ",
    ),
    "a hook that is missing": (
        {"files": {"policies.d/a.yaml": policy("a", hooks={"poststop": [{"path": "/nonexistent"}]})}},
        "/nonexistent",
    ),
    "a setting that is none": ({"files": {"config.yaml": "recrod: {}"}}, "recrod"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bundle_that_is_wrong_here_changes_nothing(publisher: Publisher, follower: Follower, case: str) -> None:
    options, expected = WRONG[case]
    follower.source.labels["tier"] = "db"
    publisher.publish("1.0")
    publisher.publish("2.0", **options)
    publisher.promote("1.0")
    follower.follow()
    before = follower.host.snapshot.read_bytes()
    publisher.promote("2.0", "1.0")
    assert expected in follower.refusal()
    assert follower.host.snapshot.read_bytes() == before
    assert follower.standing.refused["base"].keys() == {"2.0"}
    assert follower.follow() == "base 1.0 is in force: nothing to change"


def test_which_bundle(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    for name in ("a", "b"):
        publisher.publish("1.0", name=name)
        publisher.promote("1.0", name=name)
    assert "the fleet's bundles are: a, b" in Follower(tmp_path / "1", web.url, publisher.root).refusal()
    assert Follower(tmp_path / "2", web.url, publisher.root, bundle="b").follow() == "b 1.0 is in force"
    assert "no bundle 'c'" in Follower(tmp_path / "3", web.url, publisher.root, bundle="c").refusal()


# --- the stage and its gate


def test_a_stage_is_for_its_hosts(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    publisher.publish("1.0")
    publisher.publish("2.0")
    web_host = Follower(tmp_path / "web", web.url, publisher.root, labels={"tier": "web"})
    other = Follower(tmp_path / "db", web.url, publisher.root, labels={"tier": "db"})
    publisher.stage("2.0", stable="1.0", tier=["web"])
    assert (web_host.follow(), other.follow()) == ("base 2.0 is in force", "base 1.0 is in force")
    publisher.stage("2.0", share=0, stable="1.0")
    assert web_host.follow() == "base 1.0 is in force"


def test_shares_are_even_stable_and_different_for_each_version() -> None:
    stages = {version: rollout.Stage(version, 0.34) for version in ("1.0", "2.0")}
    hit = {
        version: {n for n in range(10_000) if stage.has(f"{n:032x}", "base", {})} for version, stage in stages.items()
    }
    assert all(3_250 < len(hosts) < 3_550 for hosts in hit.values())
    assert 1_000 < len(hit["1.0"] & hit["2.0"]) < 1_320
    more = rollout.Stage("1.0", 0.5)
    assert hit["1.0"] <= {n for n in range(10_000) if more.has(f"{n:032x}", "base", {})}


def recorded(follower: Follower, hostname: str, *, denied_by: str = "", error: str = "", ago: float = 60) -> None:
    """A call in the host's record, as hookrun writes it."""
    follower.record.mkdir(exist_ok=True)
    (follower.record / "configs").mkdir(exist_ok=True)
    (follower.record / "configs" / f"{hostname}.json").write_text(
        json.dumps({"ociVersion": "1.0.2", "hostname": hostname})
    )
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - ago))
    decisions = [{"policy": denied_by, "action": "denied", "message": "no", "ms": 0.1}] if denied_by else []
    line = {
        "format": 1, "id": f"{time.monotonic_ns():012x}"[-12:], "time": stamp, "runtime": {"name": "runc", "version": "0"}, "profile": "",
        "delegate": "", "pid": 1, "caller": {"pid": 1, "exe": "", "cmdline": [], "above": None}, "engine": "docker", "cold": "",
        "argv": ["runc", "create"], "command": "create", "globals": {}, "options": {}, "arguments": ["c"], "container": "c",
        "bundle": "/b", "process": None, "decisions": decisions, "resources": None, "told": {"image": "", "labels": {}}, "hooks": [],
        "sources": None, "criu": None, "hook_results": [], "config": {"before": hostname, "after": hostname, "patch": []},
        "phases": [], "milliseconds": 1.0, "status": 1 if error else 0, "error": error,
    }  # fmt: skip
    with (follower.record / "record.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_what_would_deny_recorded_calls_is_refused(publisher: Publisher, follower: Follower) -> None:
    publisher.publish("1.0")
    publisher.publish("2.0", files={"policies.d/a.yaml": policy("no-evil", **denial())})
    publisher.promote("1.0")
    follower.follow()
    recorded(follower, "evil")
    recorded(follower, "good")
    publisher.stage("2.0", gate=Gate(simulated=0), stable="1.0")
    assert "1 recorded calls would be denied, 0 may be (no-evil: no)" in follower.refusal()
    assert follower.policies == ["of-1.0"]
    assert follower.follow() == "base 1.0 is in force: nothing to change"
    publisher.publish("2.1", files={"policies.d/a.yaml": policy("no-evil", **denial())})
    publisher.stage("2.1", gate=Gate(simulated=1), stable="1.0")
    assert follower.follow() == "base 2.1 is in force"


@pytest.mark.parametrize(
    ("gate", "calls", "why"),
    [
        (Gate(denied=0), [{"denied_by": "no-evil", "error": "no"}], "1 calls denied"),
        (Gate(failed=0), [{"error": "it broke"}], "1 calls failed"),
    ],
)
def test_what_does_harm_is_taken_back(
    publisher: Publisher, follower: Follower, gate: Gate, calls: list[dict[str, Any]], why: str
) -> None:
    publisher.publish("1.0")
    publisher.publish("2.0", files={"policies.d/a.yaml": policy("no-evil", **denial())})
    publisher.promote("1.0")
    follower.follow()
    recorded(follower, "evil", denied_by="of-1.0", error="no", ago=0)
    publisher.stage("2.0", gate=gate, stable="1.0")
    assert follower.follow() == "base 2.0 is in force"
    assert follower.follow() == "base 2.0 is in force: nothing to change"
    recorded(follower, "evil", denied_by="another", error="no", ago=-1)
    assert follower.follow() == "base 2.0 is in force: nothing to change"
    for call in calls:
        recorded(follower, "evil", ago=-1, **call)
    assert f"base 1.0 is in force, instead of one that failed: {why}" in follower.follow()
    assert follower.policies == ["of-1.0"]
    assert why in follower.standing.refused["base"]["2.0"]


def test_a_look_without_a_gate_leaves_the_record_alone(publisher: Publisher, follower: Follower) -> None:
    """Else every look for two hours after a version came would read the record's calls of these hours."""
    publisher.publish("1.0")
    publisher.promote("1.0")
    recorded(follower, "some")
    before = sorted(path.name for path in follower.record.iterdir())
    follower.follow()
    assert follower.follow() == "base 1.0 is in force: nothing to change"
    assert sorted(path.name for path in follower.record.iterdir()) == before


def test_a_revoked_version_is_nobodys(publisher: Publisher, follower: Follower) -> None:
    for version in ("1.0", "2.0", "3.0"):
        publisher.publish(version)
    publisher.promote("2.0", "1.0")
    follower.follow()
    publisher.set(Track("3.0", (), None, ("2.0",)), "base")
    assert follower.follow() == "base 3.0 is in force"
    assert not list(publisher.public.glob("targets/*base-2.0*"))
    with repository.opened(publisher.directory) as fleet:
        assert fleet.versions("base") == ["1.0", "3.0"]


def test_a_bundle_is_packed_alike_wherever_it_lies(publisher: Publisher, tmp_path: Path) -> None:
    directory = publisher.bundle("1.0")
    copy = tmp_path / "copy"
    bundle.unpack(bundle.pack(directory), copy, "it")
    (copy / "bundle.yaml").touch()
    assert bundle.pack(copy) == bundle.pack(directory)
